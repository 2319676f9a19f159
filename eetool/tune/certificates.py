"""Certificates: thresholds whose loss of accuracy on new data is bounded, with a probability that the user chose.

The risk is the drop of accuracy against full depth, on labels: the mean over inputs of D = 1 where only the cascade is
wrong, −1 where only full depth is, else 0. Candidates are fixed on the threshold split, from the safest to the
cheapest, and tested in that order on the certificate split, which nothing else has seen; the last one before the first
that fails is certified. Testing in a fixed order needs no correction for their number (Learn then Test, arXiv
2110.01052; for early exits "Fast yet Safe", arXiv 2405.20915): the probability, over certificate splits, that a choice
with a larger drop than promised is certified is at most 1 − confidence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import beta, binom

from eetool.metrics import Thresholds
from eetool.tune.threshold_search import ThresholdProblem
from eetool_runtime.manifest import Certificate

METHOD = "learn-then-test/paired-score"
_NUISANCE_ERROR = 0.001  # part of the error probability that is spent on bounding how often only full depth is wrong
_GRID = 24
_CUT_OFF = 1e-6  # probability of outcomes too unlikely to be looked at
_MOST_DATA = 30_000  # examples; what would need more is out of reach


@dataclass(frozen=True)
class CertificateResult:
    """The thresholds with their certificate; or none, and how many examples would probably do (null: no number)."""

    thresholds: Thresholds | None
    certificate: Certificate | None
    n_needed: int | None = None


def certify(
    problem: ThresholdProblem, candidates: Sequence[Thresholds], max_accuracy_drop: float, confidence: float
) -> CertificateResult:
    """Test `candidates` in their order on the certificate split.

    Args:
        problem: confidences and correctness of the certificate split.
        candidates: from the safest to the cheapest, chosen without that split.
        max_accuracy_drop: the promise, in percentage points.
        confidence: how surely it holds, in (0, 1).
    """
    passed = None
    first_failed: tuple[int, int] | None = None
    for thresholds in candidates:
        if all(t is None for t in thresholds):
            continue  # full depth drops nothing, and is no early exit
        worse, better = problem.changes(thresholds)
        p = p_value(worse, better, problem.n, max_accuracy_drop / 100)
        if p > 1 - confidence:
            first_failed = (worse, better)
            break
        passed = thresholds, Certificate(METHOD, confidence, max_accuracy_drop, problem.n, worse, better, p)
    if passed is not None:
        return CertificateResult(*passed)
    needed = None
    if first_failed is not None:
        needed = examples_needed(*first_failed, problem.n, max_accuracy_drop / 100, 1 - confidence)
    return CertificateResult(None, None, needed)


@lru_cache(maxsize=4096)
def p_value(worse: int, better: int, n: int, risk: float) -> float:
    """How likely data that speak so well for the cascade would be, if its true drop were `risk` or more.

    Exact for n independent inputs of which in `worse` only the cascade was wrong and in `better` only full depth: the
    probability of all outcomes whose score statistic (Tango, 1998, for differences of pairs) is no larger than that
    observed, maximised over how often only full depth is wrong. That is first bounded above, and the error of doing so
    added (Berger and Boos, 1994).
    """
    if n == 0 or worse - better >= risk * n:
        return 1.0
    bound = float(beta.ppf(1 - _NUISANCE_ERROR, better + 1, n - better)) if better < n else 1.0  # Clopper-Pearson
    highest = min(bound, (1 - risk) / 2)
    i, j = _as_extreme(worse, better, n, risk, highest)
    rest = n - i - j
    ways = gammaln(n + 1) - gammaln(i + 1) - gammaln(j + 1) - gammaln(rest + 1)
    largest = 0.0
    for q in np.linspace(0, highest, _GRID):
        logs = ways + xlogy(i, q + risk) + xlogy(j, q) + xlogy(rest, 1 - 2 * q - risk)
        largest = max(largest, float(np.exp(logs).sum()))
    return min(1.0, largest + _NUISANCE_ERROR + _CUT_OFF)


def examples_needed(worse: int, better: int, n: int, risk: float, error: float) -> int | None:
    """How many examples would certify what was seen on `n`, if more data looked the same; null where none would."""
    for size in _sizes(n):
        scaled_worse, scaled_better = (round(count * size / n) for count in (worse, better))
        if p_value(scaled_worse, scaled_better, size, risk) <= error:
            return size
    return None


def _sizes(n: int) -> Iterator[int]:
    size = float(n)
    while size < _MOST_DATA:
        size *= 1.1
        yield round(size)


def _as_extreme(worse: int, better: int, n: int, risk: float, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts (i, j) of all outcomes at least as good as (worse, better), but for those of probability `_CUT_OFF`."""
    most = [int(binom.isf(_CUT_OFF / 2, n, min(p, 1.0))) + 1 for p in (highest + risk, highest)]
    i, j = np.meshgrid(*(np.arange(min(m, n) + 1) for m in most), indexing="ij")
    here = (i + j <= n) & (_score(i, j, n, risk) <= _score(np.array(worse), np.array(better), n, risk) + 1e-9)
    return i[here], j[here]


def _score(worse: np.ndarray, better: np.ndarray, n: int, risk: float) -> np.ndarray:
    """How far the difference lies from `risk`, in standard deviations under the likeliest world where it is `risk`."""
    linear = worse * (1 - risk) + better * (1 - 3 * risk) - 2 * risk * (n - worse - better)
    q = (linear + np.sqrt(linear**2 + 8 * n * better * risk * (1 - risk))) / (4 * n)
    score: np.ndarray = (worse - better - n * risk) / np.sqrt(n * (2 * q + risk - risk**2))
    return score
