"""Metrics of each exit on held-out inputs: calibration, ranking, and the inputs that left there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.metrics import Thresholds, auroc, exits_taken, expected_calibration_error, reliability_bins
from eetool.progress import SILENT, Progress
from eetool_runtime.input_checker import Arrays
from eetool_runtime.model import Model

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
    model: Model,
    inputs: Sequence[Arrays],
    labels: np.ndarray,
    indices: np.ndarray,
    thresholds: Thresholds,
    progress: Progress = SILENT,
) -> tuple[ExitFigures, ...]:
    """Return metrics of every exit, run on every input, none skipped.

    Args:
        model: loaded bundle.
        inputs: N model inputs of batch 1.
        labels: int64 (N,), their labels.
        indices: int64 (N,), their places in the data source.
        thresholds: thresholds of the judged operating point, which decide where inputs leave.
        progress: shows the steps.
    """
    predictions, confidences = _predict_every_exit(model, inputs, progress)
    taken = exits_taken(confidences, thresholds)
    return tuple(
        _figures(k, predictions[k], confidences[k], labels, indices, taken == k) for k in range(len(predictions))
    )


def _predict_every_exit(model: Model, inputs: Sequence[Arrays], progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return classes int64 and confidences float32 of every exit, (exits, N) each."""
    predictions, confidences = [], []
    with progress("every exit on every input", len(inputs)) as advance:
        for one in inputs:
            exits = model.every_exit(one)
            predictions.append([int(logits[0].argmax()) for logits, _ in exits])
            confidences.append([float(confidence[0]) for _, confidence in exits])
            advance(1)
    return np.array(predictions, np.int64).T, np.array(confidences, np.float32).T  # (N, exits) -> (exits, N)


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
