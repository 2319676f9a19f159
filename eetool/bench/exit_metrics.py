"""Metrics of each exit on held-out inputs: calibration, ranking, and the inputs that left there."""

from dataclasses import dataclass

import numpy as np

from eetool.bench.predictions import ExitPredictions
from eetool.metrics import Thresholds, auroc, exits_taken, expected_calibration_error, reliability_bins

SHOWN = 6  # easiest and hardest examples listed per exit


@dataclass(frozen=True)
class ReliabilityBin:
    """The `n` predictions with confidences in one of 15 equal bins: mean confidence and accuracy."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ExampleAnswer:
    """One input, by its `index` in the data source; `label` and `answer`, the prediction, are class indices."""

    index: int
    label: int
    answer: int
    confidence: float


@dataclass(frozen=True)
class ExitFigures:
    """Metrics of one exit on all inputs, and extremes of those that left there at the judged operating point.

    Attributes:
        auroc: probability that a correct prediction has a higher confidence than a wrong one; null where all are
            correct or all wrong.
        reliability: bins that are not empty, in order of confidence; `ece` is computed from them.
        easiest: inputs that left here, the highest confidence first.
        hardest: inputs that left here, the lowest confidence first; none of them is among the easiest.
    """

    exit: int
    accuracy: float
    ece: float
    auroc: float | None
    reliability: tuple[ReliabilityBin, ...]
    easiest: tuple[ExampleAnswer, ...]
    hardest: tuple[ExampleAnswer, ...]


def exit_figures(
    exits: ExitPredictions, labels: np.ndarray, indices: np.ndarray, thresholds: Thresholds
) -> tuple[ExitFigures, ...]:
    """Return metrics of every exit, run on every input, none skipped.

    Args:
        exits: predictions of the exits on N inputs.
        labels: int64 (N,), their labels.
        indices: int64 (N,), their places in the data source.
        thresholds: thresholds of the judged operating point, which decide where inputs leave.
    """
    taken = exits_taken(exits.confidence, thresholds)
    return tuple(
        _figures(k, exits.classes[k], exits.confidence[k], labels, indices, taken == k)
        for k in range(len(exits.classes))
    )


def _figures(
    k: int, predictions: np.ndarray, confidence: np.ndarray, labels: np.ndarray, indices: np.ndarray, left: np.ndarray
) -> ExitFigures:
    correct = predictions == labels
    here = np.flatnonzero(left)
    order = here[np.argsort(-confidence[here], kind="stable")]
    examples = [
        ExampleAnswer(int(indices[i]), int(labels[i]), int(predictions[i]), float(confidence[i])) for i in order
    ]
    half = (len(examples) + 1) // 2
    return ExitFigures(
        exit=k,
        accuracy=float(correct.mean()),
        ece=expected_calibration_error(confidence, correct),
        auroc=auroc(confidence, correct),
        reliability=tuple(ReliabilityBin(*bin_) for bin_ in reliability_bins(confidence, correct)),
        easiest=tuple(examples[:half][:SHOWN]),
        hardest=tuple(examples[half:][::-1][:SHOWN]),
    )
