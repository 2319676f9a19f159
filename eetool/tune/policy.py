"""From logits on two splits to a policy: temperatures, then operating points with their expected figures."""

from dataclasses import dataclass

import numpy as np

from eetool.data.splits import THRESHOLD
from eetool.model.scores import MAX_SOFTMAX
from eetool.tune.calibrate import fit_temperature
from eetool.tune.costs import Costs
from eetool.tune.metrics import Thresholds, exits_taken
from eetool.tune.scores import confidences
from eetool.tune.thresholds import Problem, cheapest
from eetool_runtime.manifest import Expected, OperatingPoint, Reached

FULL, BALANCED, FAST = "full", "balanced", "fast"
# What part of the accuracy drop that the user allows each point may spend.
_SHARE_OF_DROP = {BALANCED: 0.5, FAST: 1.0}


@dataclass(frozen=True)
class Labelled:
    """Logits of every exit (exits, n, classes), labels int64 (n,) of one split, learned confidences (early, n)."""

    logits: np.ndarray
    labels: np.ndarray
    learned: np.ndarray | None = None


@dataclass(frozen=True)
class Tuned:
    """Temperatures and operating points, `full` first."""

    temperatures: tuple[float, ...]
    operating_points: dict[str, OperatingPoint]


def tune(
    temperature: Labelled,
    threshold: Labelled,
    costs: Costs,
    macs: Costs,
    max_accuracy_drop: float,
    score: str = MAX_SOFTMAX,
) -> Tuned:
    """Fit temperatures on one split and operating points on another.

    `full` never leaves early, `balanced` may lose half of `max_accuracy_drop` (percentage points), `fast` all of it.

    Args:
        costs: what the thresholds minimise.
        macs: MACs, for the figures that every operating point carries.
        score: what gates go by, one of `eetool.model.scores.SCORES`.
    """
    temperatures = tuple(fit_temperature(logits, temperature.labels) for logits in temperature.logits)
    correct = threshold.logits.argmax(2) == threshold.labels  # (exits, n, classes) -> (exits, n)
    sure = confidences(score, threshold.logits, temperatures, threshold.learned)
    problem = Problem(sure, correct, costs)
    thresholds: dict[str, Thresholds] = {FULL: (None,) * problem.early}
    for name, share in _SHARE_OF_DROP.items():
        thresholds[name] = cheapest(problem, share * max_accuracy_drop)
    points = {name: OperatingPoint(t, _expected(problem, macs, t)) for name, t in thresholds.items()}
    return Tuned(temperatures, points)


def _expected(problem: Problem, macs: Costs, thresholds: Thresholds) -> Expected:
    taken = exits_taken(problem.confidences, thresholds)
    exits = len(problem.confidences)
    counts = np.bincount(taken, minlength=exits)
    return Expected(
        split=THRESHOLD,
        n=problem.n,
        accuracy=float(problem.correct[taken, np.arange(problem.n)].mean()),
        exit_shares=tuple((counts / problem.n).tolist()),
        mean_exit_depth=float(taken.mean()),
        mean_macs=float(macs.leaving(thresholds)[taken].mean()),
        reached=tuple(_reached(problem.confidences[i][taken >= i]) for i in range(exits)),
    )


def _reached(confidences: np.ndarray) -> Reached | None:
    if len(confidences) == 0:
        return None
    return Reached(len(confidences), float(confidences.mean()), float(confidences.std()))
