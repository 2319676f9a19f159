"""Selection of int8 graphs: smaller than the float graph, accurate enough, and not slower."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eetool_measure.timing import Spread, interleave, per_round, spread
from eetool_runtime.backends import Graph, open_graph
from eetool_runtime.errors import BackendError

MAX_LOSS = 0.1  # root mean square error of a component's outputs, relative to their root mean square
_SLOWER = 1.02
_RUNS, _SECONDS = 100, 0.15

Cases = Sequence[Mapping[str, np.ndarray]]


def reason_to_keep_float(float_path: Path, int8_path: Path, cases: Cases, judge_speed: bool = True) -> str | None:
    """Return the reason to keep the float graph, or None where int8 is better.

    Args:
        float_path: file of the float graph.
        int8_path: file of the int8 graph.
        cases: named tensors at batch 1, including all inputs and outputs of the graph.
        judge_speed: also measure both, interleaved, and refuse int8 where it is slower on this machine.
    """
    if int8_path.stat().st_size >= float_path.stat().st_size:
        return "its int8 file is no smaller"
    try:
        graphs = {"fp32": open_graph(float_path), "int8": open_graph(int8_path)}
    except BackendError as error:
        return f"its int8 file does not load: {error.message}"
    if graphs["int8"].outputs != graphs["fp32"].outputs or graphs["int8"].inputs != graphs["fp32"].inputs:
        return "its inputs or outputs are not floats"
    loss = _loss(graphs["int8"], cases)
    if not loss <= MAX_LOSS:
        return f"int8 is off by {100 * loss:.0f} % (at most {100 * MAX_LOSS:.0f} % are allowed)"
    if not judge_speed:
        return None
    ratio = _time_ratio(graphs, cases[0])
    # Within the noise of this machine int8 is preferred, because it is smaller.
    return f"int8 takes {ratio.median:.2f} times as long here" if ratio.ci95[0] > _SLOWER else None


def _loss(graph: Graph, cases: Cases) -> float:
    errors = dict.fromkeys(graph.outputs, 0.0)
    powers = dict.fromkeys(graph.outputs, 0.0)
    for case in cases:
        outputs = dict(zip(graph.outputs, graph.run({name: case[name] for name in graph.inputs}), strict=True))
        for name, output in outputs.items():
            reference = case[name].astype(np.float64)
            errors[name] += float(((output - reference) ** 2).sum())
            powers[name] += float((reference**2).sum())
    return max(float(np.sqrt(errors[name] / (powers[name] or 1.0))) for name in errors)


def _time_ratio(graphs: Mapping[str, Graph], case: Mapping[str, np.ndarray]) -> Spread:
    feed = {name: case[name] for name in graphs["fp32"].inputs}
    subjects = {key: lambda _, graph=graph: graph.run(feed) for key, graph in graphs.items()}
    times = interleave(subjects, runs=_RUNS, min_seconds=_SECONDS, seed=0)
    return spread(per_round(times["int8"]) / per_round(times["fp32"]))
