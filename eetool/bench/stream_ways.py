"""Ways to answer the frames of a stream through the runtime, ready to be timed."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from eetool.bench.stream_timing import FrameResult
from eetool.tune.moving_average import AveragePolicy
from eetool_runtime.bundle import Bundle
from eetool_runtime.loading import load_to_judge
from eetool_runtime.manifest import StreamPolicy
from eetool_runtime.model import Model
from eetool_runtime.stream_filter import NO_EXIT, FrameAnswer, StreamFilter, StreamState

Inputs = Callable[[int], dict[str, np.ndarray]]  # of a frame by its index


def open_stream_model(bundle: Bundle, variant: str, threads: int) -> Model:
    """Return the model that all ways share."""
    return load_to_judge(bundle, variant=variant, threads=threads)


class _Frames:
    """Inputs of the frames of a turn, made before it."""

    def __init__(self, name: str, model: Model, inputs: Inputs) -> None:
        self.name, self.model = name, model
        self._inputs, self._made = inputs, dict[int, dict[str, np.ndarray]]()

    def prepare(self, indices: Sequence[int]) -> None:
        """Make the inputs of the frames `indices`."""
        self._made = {index: self._inputs(index) for index in indices}


class GatedFrames(_Frames):
    """An operating point without memory."""

    def prepare(self, indices: Sequence[int]) -> None:
        """Set the shared model to the operating point as well."""
        super().prepare(indices)
        self.model.use(self.name)

    def restart(self) -> None:
        """Do nothing: every frame is answered alone."""

    def answer(self, index: int) -> FrameResult:
        """Return the answer to a frame."""
        result = self.model(self._made[index])
        return FrameResult(result.index, result.exit)


class FilterFrames(_Frames):
    """A stream with a policy; full depth, gates per frame and difference detection are policies as well."""

    def __init__(
        self, name: str, model: Model, policy: StreamPolicy, base_rates: Sequence[float], inputs: Inputs
    ) -> None:
        super().__init__(name, model, inputs)
        self._stream = model.stream(policy=policy, base_rates=base_rates)

    def restart(self) -> None:
        """Begin a sequence."""
        self._stream.reset()

    def answer(self, index: int) -> FrameResult:
        """Return the answer to a frame."""
        result = self._stream(self._made[index])
        return FrameResult(result.index, len(self._stream.policy.thresholds) if result.exit < 0 else result.exit)


class AverageFrames(FilterFrames):
    """A stream with a moving average in place of the filter."""

    def __init__(
        self, name: str, model: Model, policy: AveragePolicy, base_rates: Sequence[float], inputs: Inputs
    ) -> None:
        rule = _AverageRule(policy, np.array(base_rates))
        super().__init__(name, model, rule.policy, base_rates, inputs)
        self._stream._rule = rule  # the runtime has the filter alone; this is its rival here
        self._stream.reset()


class _AverageRule(StreamFilter):
    """The moving average of `eetool.tune.moving_average`, frame by frame."""

    def __init__(self, policy: AveragePolicy, base_rates: np.ndarray) -> None:
        super().__init__(StreamPolicy(1.0, policy.thresholds, agree=False), base_rates)
        self._weight = policy.weight

    def step(
        self,
        state: StreamState,
        run_exits: Callable[[bool], Iterable[tuple[int, np.ndarray]]],
        time_s: float | None = None,
    ) -> FrameAnswer:
        """Return the answer to the next frame."""
        weight = 1.0 if state is self.start else self._weight
        index, average, raw = NO_EXIT, state.posterior, None
        for index, own in run_exits(False):
            average, raw = (1 - weight) * state.posterior + weight * own, int(own.argmax())
            threshold = self.policy.thresholds[index] if index < len(self.policy.thresholds) else None
            if threshold is not None and average.max() >= threshold:
                break
        new = StreamState(average, None, 0, time_s)
        return FrameAnswer(index, int(average.argmax()), raw, index, True, False, False, new)
