"""Static networks that an advice compares with: ONNX files of the user."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eetool.advise.document import RivalForecast
from eetool.advise.exit_costs import ExitCosts
from eetool.bench.way_sets import RivalFile
from eetool.latency.estimate.prediction_target import predictable_variants, target_of_variant
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.from_onnx import total_macs
from eetool.progress import Progress


def judge_rivals(
    paths: Sequence[Path],
    inputs: np.ndarray,
    labels: np.ndarray,
    classes: int,
    costs: ExitCosts,
    predictor: Predictor | None,
    progress: Progress,
) -> list[RivalForecast]:
    """Return the accuracy of ONNX files on held-out examples, and their cost from the device's table.

    Args:
        paths: the files.
        inputs: (n, …) as the network of the advice takes them.
        labels: int64 (n,).
        classes: number of classes.
        costs: costs of the network of the advice.
        predictor: predictor of the device; MACs without one.
        progress: observer.

    Raises:
        ArtefactError: a file cannot be read or run, or has another input or number of classes.
    """
    rivals = []
    with progress("static networks", len(paths)) as advance:
        for path in paths:
            accuracy = _accuracy(path, inputs, labels, classes)
            cost, reason = _cost(path, predictor)
            ratio = None if cost is None else cost / max(costs.unsplit.value, 1e-12)
            rivals.append(RivalForecast(path.name, accuracy, cost, ratio, reason))
            advance(1)
    return rivals


def _accuracy(path: Path, inputs: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Return the share of the inputs with a right prediction."""
    rival = RivalFile(path, [inputs[i : i + 1] for i in range(len(inputs))], threads=1, classes=classes)
    (way,) = rival.predict().ways.values()
    return float((way.classes == labels).mean())


def _cost(path: Path, predictor: Predictor | None) -> tuple[float | None, str | None]:
    """Return the cost, or None with the reason."""
    (variant,) = predictable_variants(path)
    if predictor is None:
        target = target_of_variant(path, variant, 1)
        return float(sum(total_macs(kernels) for kernels in target.graphs.values())), None
    precision, held = variant.split("/")[1], predictor.kernel_costs
    if precision != held.precision:
        own = Predictor(predictor.profile, held.backend, precision, held.threads)
        if own.kernel_costs.precision != precision:
            return None, f"the table of {predictor.profile.name} has no {precision} figures"
        predictor = own
    target = target_of_variant(path, variant, predictor.channel_block)
    return sum(predictor.graph(name, kernels).latency_ms for name, kernels in target.graphs.items()), None
