"""Ways that answer a stream in turns of a few frames."""

from collections.abc import Sequence

import numpy as np

from eetool.bench.stream_timing import RUN, FrameResult, time_streams


class Counting:
    """A way that answers with the number of frames since the sequence began; every call takes `ns`."""

    def __init__(self, name: str, clock: "Clock", ns: int) -> None:
        self.name, self._clock, self._ns, self._count = name, clock, ns, 0

    def prepare(self, indices: Sequence[int]) -> None:
        pass

    def restart(self) -> None:
        self._count = 0

    def answer(self, index: int) -> FrameResult:
        self._clock.now += self._ns
        self._count += 1
        return FrameResult(self._count, index % 2)


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def test_time_streams_every_way_sees_all_frames_in_order() -> None:
    clock, n = Clock(), 3 * RUN + 5
    starts = np.isin(np.arange(n), [0, 30])
    times = time_streams([Counting("a", clock, 1_000_000), Counting("b", clock, 3_000_000)], starts, 2, clock=clock)
    expected = [*range(1, 31), *range(1, n - 29)]
    for name, milliseconds in (("a", 1), ("b", 3)):
        assert times[name].labels.tolist() == expected
        assert times[name].exits.tolist() == [i % 2 for i in range(n)]
        assert times[name].latency_ms.tolist() == [milliseconds] * n
        assert times[name].pass_ms.tolist() == [milliseconds] * 2
