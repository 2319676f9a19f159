"""Diagnostics of exits: accuracy, calibration error and AUROC on the inputs that reach each exit."""

from dataclasses import dataclass

import numpy as np

from eetool.metrics import Thresholds, auroc, degenerate_exit, exits_taken, expected_calibration_error
from eetool.tune.threshold_search import ThresholdProblem


@dataclass(frozen=True)
class ExitDiagnosis:
    """Figures of an exit on the `n` examples that reach it.

    Attributes:
        n: examples that reach the exit.
        accuracy: of its predictions on them.
        calibration_error: expected calibration error of its confidences.
        auroc: probability that a correct prediction has a higher confidence than a wrong one; null where all are
            correct or all wrong. A gate depends on it and not on calibration (arXiv 2508.21495).
        leave: examples that leave here.
    """

    n: int
    accuracy: float | None
    calibration_error: float | None
    auroc: float | None
    leave: int


@dataclass(frozen=True)
class Diagnosis:
    """Figures of all exits at one operating point. `exit_entropy_bits` is 0 where all inputs leave at one exit."""

    exits: tuple[ExitDiagnosis, ...]
    exit_entropy_bits: float
    degenerate_exit: int | None


def diagnose(problem: ThresholdProblem, thresholds: Thresholds) -> Diagnosis:
    """Return the figures of every exit on the examples that reach it."""
    taken = exits_taken(problem.confidences, thresholds)
    shares = np.bincount(taken, minlength=len(problem.confidences)) / problem.n
    used = shares[shares > 0]
    exits = tuple(_exit(problem, taken, i) for i in range(len(problem.confidences)))
    return Diagnosis(exits, float(abs((used * np.log2(used)).sum())), degenerate_exit(shares))


def _exit(problem: ThresholdProblem, taken: np.ndarray, index: int) -> ExitDiagnosis:
    reached = taken >= index
    confidences, correct = problem.confidences[index][reached], problem.correct[index][reached]
    leave = int((taken == index).sum())
    if not len(confidences):
        return ExitDiagnosis(0, None, None, None, leave)
    error = expected_calibration_error(confidences, correct)
    return ExitDiagnosis(len(confidences), float(correct.mean()), error, auroc(confidences, correct), leave)
