"""What each exit is worth to those inputs that get to it, and whether its gate decides anything."""

from dataclasses import dataclass

import numpy as np

from eetool.metrics import Thresholds, auroc, exits_taken, expected_calibration_error
from eetool.tune.threshold_search import ThresholdProblem

_DEGENERATE = 0.99  # share of the inputs at one early exit from which on its gate decides nothing


@dataclass(frozen=True)
class ExitDiagnosis:
    """Of the `n` examples that reach an exit: how many it would get right, how far its confidences lie from that.

    `auroc` is the probability that a right answer is surer than a wrong one, null where all are right or all wrong:
    it, and not calibration, is what a gate lives on (arXiv 2508.21495).
    """

    n: int
    accuracy: float | None
    calibration_error: float | None
    auroc: float | None
    leave: int


@dataclass(frozen=True)
class Diagnosis:
    """All exits at one choice of thresholds. `exit_entropy_bits` is 0 where all inputs leave at one exit."""

    exits: tuple[ExitDiagnosis, ...]
    exit_entropy_bits: float
    degenerate_exit: int | None


def diagnose(problem: ThresholdProblem, thresholds: Thresholds) -> Diagnosis:
    """Figures of every exit among the examples that reach it."""
    taken = exits_taken(problem.confidences, thresholds)
    shares = np.bincount(taken, minlength=len(problem.confidences)) / problem.n
    left = shares[shares > 0]
    early = int(shares[:-1].argmax()) if problem.early else 0
    degenerate = early if problem.early and shares[early] >= _DEGENERATE else None
    exits = tuple(_exit(problem, taken, i) for i in range(len(problem.confidences)))
    return Diagnosis(exits, float(abs((left * np.log2(left)).sum())), degenerate)


def _exit(problem: ThresholdProblem, taken: np.ndarray, index: int) -> ExitDiagnosis:
    here = taken >= index
    sure, correct = problem.confidences[index][here], problem.correct[index][here]
    leave = int((taken == index).sum())
    if not len(sure):
        return ExitDiagnosis(0, None, None, None, leave)
    error = expected_calibration_error(sure, correct)
    return ExitDiagnosis(len(sure), float(correct.mean()), error, auroc(sure, correct), leave)
