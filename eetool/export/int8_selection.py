"""Selection of int8 graphs: smaller than the float graph, accurate enough, and not slower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eetool.export.parity import component_parity
from eetool_measure.stability import interleave_until_steady, p90_to_median, relative_ci95, scatter_reasons
from eetool_measure.timing import Spread, per_round, spread
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import BackendError

MAX_LOSS = 0.1  # of `Parity.relative_rms`
_SLOWER = 1.02
_RUNS, _SECONDS = 100, 0.15

Cases = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Speed:
    """Time of an int8 graph over that of the float graph on this machine.

    Attributes:
        ratio: with its interval.
        scatter: reasons to distrust the times, by the limits of `eetool profile`.
    """

    ratio: Spread
    scatter: tuple[str, ...] = ()

    @property
    def reason_to_keep_float(self) -> str | None:
        """The ratio in words where int8 is surely slower; otherwise None, because int8 is smaller."""
        if self.scatter or self.ratio.ci95[0] <= _SLOWER:
            return None
        return f"int8 takes {self.ratio.median:.2f} times as long here; --no-judge-speed ignores that"


def reason_to_keep_float(float_path: Path, int8_path: Path, cases: Cases) -> str | None:
    """Return the reason to keep the float graph whatever the speed of int8, or None.

    Args:
        float_path: file of the float graph.
        int8_path: file of the int8 graph.
        cases: named tensors, including all inputs and outputs of the graph.
    """
    if int8_path.stat().st_size >= float_path.stat().st_size:
        return "its int8 file is no smaller"
    try:
        exact, rounded = open_graph(float_path), open_graph(int8_path)
    except BackendError as error:
        return f"its int8 file does not load: {error.message}"
    if rounded.outputs != exact.outputs or rounded.inputs != exact.inputs:
        return "its inputs or outputs are not floats"
    loss = component_parity(int8_path, tuple(rounded.inputs), tuple(rounded.outputs), cases, relative=1.0).relative_rms
    if not loss <= MAX_LOSS:
        return f"int8 is off by {100 * loss:.0f} % (at most {100 * MAX_LOSS:.0f} % are allowed)"
    return None


def measure_speed(float_path: Path, int8_path: Path, case: Mapping[str, np.ndarray]) -> Speed:
    """Time both graphs in turns on named tensors at batch 1, up to three times as long where the times scatter."""
    graphs = {"fp32": open_graph(float_path), "int8": open_graph(int8_path)}
    feed = {name: case[name] for name in graphs["fp32"].inputs}
    subjects = {key: lambda _, graph=graph: graph.run(feed) for key, graph in graphs.items()}
    times = interleave_until_steady(subjects, tuple(subjects), runs=_RUNS, min_seconds=_SECONDS, seed=0)
    scatter = scatter_reasons(relative_ci95(times), p90_to_median(times))
    return Speed(spread(per_round(times["int8"]) / per_round(times["fp32"])), tuple(scatter))


@dataclass
class Int8Judge:
    """Selection of the int8 graphs of one variant.

    Attributes:
        cases: named tensors, including all inputs and outputs of every graph.
        timed: such tensors at batch 1.
        judges_speed: whether int8 must not be slower on this machine.
        scattered: names of the graphs whose times scattered, with the reason.
    """

    cases: Cases
    timed: Mapping[str, np.ndarray]
    judges_speed: bool
    scattered: dict[str, str] = field(init=False, default_factory=dict)

    def reason_to_keep_float(self, place: str, float_path: Path, int8_path: Path) -> str | None:
        """Return the reason to keep the float graph at `place`, or None where int8 is better."""
        reason = reason_to_keep_float(float_path, int8_path, self.cases)
        if reason is not None or not self.judges_speed:
            return reason
        speed = measure_speed(float_path, int8_path, self.timed)
        if speed.scatter:
            self.scattered[place.split("/")[1]] = speed.scatter[-1]
        return speed.reason_to_keep_float

    def notes(self) -> list[str]:
        """Return a line about the int8 graphs that are used although their speed could not be judged."""
        if not self.scattered:
            return []
        why = next(iter(self.scattered.values()))
        return [
            f"the speed of {', '.join(self.scattered)} was not judged, and they are int8: {why}; "
            "export again on a quiet machine; --no-judge-speed never judges it"
        ]
