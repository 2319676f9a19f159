"""What each exit is worth on images that nothing was fitted on: calibration, ranking, and who left there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.metrics import Thresholds, auroc, exits_taken, expected_calibration_error, reliability_bins
from eetool.progress import SILENT, Progress
from eetool_runtime.input_checker import Arrays
from eetool_runtime.model import Model

SHOWN = 6  # easiest and hardest examples of an exit that are named


@dataclass(frozen=True)
class ReliabilityBin:
    """The `n` answers whose confidences fall into one of 15 equal bins: their mean confidence and their accuracy."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ExampleAnswer:
    """One image, by its `index` in the data source; `label` and `answer` are numbers of classes."""

    index: int
    label: int
    answer: int
    confidence: float


@dataclass(frozen=True)
class ExitFigures:
    """One exit had it answered all images, and extremes of those that left there at the judged operating point.

    Attributes:
        auroc: probability that a right answer is surer than a wrong one; null where all are right or all wrong.
        reliability: bins that are not empty, in order of confidence; `ece` follows from them.
        easiest: images that left here, surest first.
        hardest: images that left here, least sure first; none of them is among the easiest.
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
    """Run every exit on every input, none skipped.

    Args:
        inputs: N model inputs of batch 1.
        labels: int64 (N,), their right classes.
        indices: int64 (N,), where they are in the data source.
        thresholds: of the operating point that decides who left where.
    """
    said, sure = _answers(model, inputs, progress)
    taken = exits_taken(sure, thresholds)
    return tuple(_figures(k, said[k], sure[k], labels, indices, taken == k) for k in range(len(said)))


def _answers(model: Model, inputs: Sequence[Arrays], progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Classes int64 and confidences float32 of every exit, (exits, N) each."""
    said, sure = [], []
    with progress("every exit on every image", len(inputs)) as advance:
        for one in inputs:
            exits = model.every_exit(one)
            said.append([int(logits[0].argmax()) for logits, _ in exits])
            sure.append([float(confidence[0]) for _, confidence in exits])
            advance(1)
    return np.array(said, np.int64).T, np.array(sure, np.float32).T  # (N, exits) -> (exits, N)


def _figures(
    k: int, said: np.ndarray, sure: np.ndarray, labels: np.ndarray, indices: np.ndarray, left: np.ndarray
) -> ExitFigures:
    right = said == labels
    here = np.flatnonzero(left)
    order = here[np.argsort(-sure[here], kind="stable")]
    examples = [ExampleAnswer(int(indices[i]), int(labels[i]), int(said[i]), float(sure[i])) for i in order]
    half = (len(examples) + 1) // 2
    return ExitFigures(
        exit=k,
        accuracy=float(right.mean()),
        ece=expected_calibration_error(sure, right),
        auroc=auroc(sure, right),
        reliability=tuple(ReliabilityBin(*bin_) for bin_ in reliability_bins(sure, right)),
        easiest=tuple(examples[:half][:SHOWN]),
        hardest=tuple(examples[half:][::-1][:SHOWN]),
    )
