"""Logits of every exit on the held-out images of a model, cached, and the accuracy drops that thresholds cause on them.

`certificates.py` and `threshold_margins.py` draw random splits of these logits.
"""

from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.registry import load_source
from eetool.data.splits import TRAIN, recorded_split
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds
from eetool.model.checkpoint import load_checkpoint
from eetool.train.exit_answers import NetworkAnswers
from eetool.tune.calibration import Calibration
from eetool.tune.cross_fitting import LabelledLogits, threshold_problem


def held_out_logits(model: Path, data: str, cache: Path | None) -> LabelledLogits:
    """Return the logits of every exit on all images that the model was not trained on.

    Args:
        model: The `model.pt`.
        data: The data source.
        cache: An npz file to read the logits from, or to write them to; None computes them.
    """
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            return LabelledLogits(
                stored["logits"], stored["labels"], stored["learned"] if "learned" in stored.files else None
            )
    checkpoint, source = load_checkpoint(model), load_source(data)
    chosen = np.setdiff1d(np.arange(len(source.labels)), recorded_split(source, TRAIN, checkpoint.record.data))
    logits, learned = NetworkAnswers(checkpoint)(source.inputs[chosen])
    arrays = {"logits": logits, "labels": source.labels[chosen]}
    if learned is not None:
        arrays["learned"] = learned
    if cache is not None:
        np.savez(cache, **arrays)  # type: ignore[arg-type]
    return LabelledLogits(arrays["logits"], arrays["labels"], arrays.get("learned"))


def select(held: LabelledLogits, indices: np.ndarray) -> LabelledLogits:
    """Return the examples at `indices`."""
    learned = None if held.learned is None else held.learned[:, indices]
    return LabelledLogits(held.logits[:, indices], held.labels[indices], learned)


def drop_and_cost(
    calibration: Calibration, images: LabelledLogits, costs: CascadeCosts, score: str, thresholds: Thresholds
) -> tuple[float, float]:
    """Return the accuracy drop on `images` in points, and the mean cost as a share of full depth."""
    problem = threshold_problem(calibration, images, costs, score)
    worse, better = problem.changes(thresholds)
    full = problem.evaluate((None,) * problem.early)[0]
    return 100 * (worse - better) / problem.n, problem.evaluate(thresholds)[0] / full


def summary(outcomes: list[tuple[float, float]]) -> dict[str, Any] | None:
    """Return the means of drops and costs and the quantiles of the drops; None without outcomes."""
    if not outcomes:
        return None
    drops, costs = (np.array(column) for column in zip(*outcomes, strict=True))
    return {
        "mean_drop_points": float(drops.mean()),
        "drop_quantiles_points": np.quantile(drops, [0, 0.05, 0.5, 0.95, 1]).round(3).tolist(),
        "mean_cost": float(costs.mean()),
    }
