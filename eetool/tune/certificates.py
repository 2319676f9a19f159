"""Certificates: thresholds with a bound on the accuracy drop on new data, which holds with a chosen probability.

The risk is the accuracy drop against full depth, on labels. It is the mean over inputs of D: 1 where only the cascade
is wrong, −1 where only full depth is wrong, else 0. Candidates are fixed on the threshold split, from the safest to the
cheapest. They are tested in that order on the certificate split, which nothing else uses. The last candidate before the
first that fails is certified. Tests in a fixed order need no correction for their number (Learn then Test, arXiv
2110.01052; for early exits "Fast yet Safe", arXiv 2405.20915). The probability, over certificate splits, that a choice
with a larger drop than promised is certified is at most 1 − confidence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, xlogy

from eetool.metrics import Thresholds
from eetool.tune.threshold_search import ThresholdProblem
from eetool_runtime.manifest import Certificate

METHOD = "learn-then-test/paired-score"
_NUISANCE_ERROR = 0.001  # error probability of the bound on how often only full depth is wrong
_GRID = 24
_CUT_OFF = 1e-6  # probability of the outcomes that are left out
_ROUNDING = 1e-6
_MOST_DATA = 30_000  # examples; a promise that needs more counts as out of reach


@dataclass(frozen=True)
class CertificateResult:
    """Thresholds with their certificate; or none, and the number of examples that would probably be enough.

    `n_needed` is null where no number of examples is enough.
    """

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
        max_accuracy_drop: the promised limit, in percentage points.
        confidence: probability in (0, 1) with which it holds.
    """
    passed = None
    first_failed: tuple[int, int] | None = None
    for thresholds in candidates:
        if all(t is None for t in thresholds):
            continue  # full depth has no drop, and is no early exit
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
    """Return the probability of data at least as good for the cascade, if its true drop were `risk` or more.

    The test is exact for n independent inputs: in `worse` of them only the cascade was wrong, in `better` only full
    depth. The result is the probability of all outcomes with a score statistic (Tango, 1998, for paired differences)
    no larger than the observed one, maximised over how often only full depth is wrong. That rate is first bounded
    above, and the error of the bound is added (Berger and Boos, 1994).
    """
    from scipy.stats import beta  # slow to load

    if n == 0 or worse - better >= risk * n:
        return 1.0
    bound = float(beta.ppf(1 - _NUISANCE_ERROR, better + 1, n - better)) if better < n else 1.0  # Clopper-Pearson
    highest = min(bound, (1 - risk) / 2)
    i, j = _as_extreme(worse, better, n, risk, highest)
    rest = n - i - j
    log_count = gammaln(n + 1) - gammaln(i + 1) - gammaln(j + 1) - gammaln(rest + 1)  # multinomial coefficient
    largest = 0.0
    for q in np.linspace(0, highest, _GRID):
        logs = log_count + xlogy(i, q + risk) + xlogy(j, q) + xlogy(rest, 1 - 2 * q - risk)
        largest = max(largest, float(np.exp(logs).sum()))
    return min(1.0, largest + _NUISANCE_ERROR + _CUT_OFF)


def examples_needed(worse: int, better: int, n: int, risk: float, error: float) -> int | None:
    """Return the number of examples that would certify the shares seen on `n` examples; None where none would."""
    for size in _sizes(n):
        scaled_worse, scaled_better = (round(count * size / n) for count in (worse, better))
        if p_value(scaled_worse, scaled_better, size, risk) <= error:
            return size
    return None


def least_promise(n: int, confidence: float) -> float:
    """Return the least drop, in percentage points, that n examples prove if none of them changes.

    It depends on n alone: a promise that was chosen by the examples themselves would not hold with `confidence`.
    """
    error = 1 - confidence
    if p_value(0, 0, n, 1.0 - _ROUNDING) > error:
        return 100.0
    return 100 * float(brentq(lambda risk: p_value(0, 0, n, risk) - error, _ROUNDING, 1 - _ROUNDING, xtol=1e-5))


def _sizes(n: int) -> Iterator[int]:
    size = float(n)
    while size < _MOST_DATA:
        size *= 1.1
        yield round(size)


def _as_extreme(worse: int, better: int, n: int, risk: float, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (i, j) of all outcomes at least as good as (worse, better), except for a probability `_CUT_OFF`."""
    from scipy.stats import binom  # slow to load

    most = [int(binom.isf(_CUT_OFF / 2, n, min(p, 1.0))) + 1 for p in (highest + risk, highest)]
    i, j = np.meshgrid(*(np.arange(min(m, n) + 1) for m in most), indexing="ij")
    as_good = (i + j <= n) & (_score(i, j, n, risk) <= _score(np.array(worse), np.array(better), n, risk) + 1e-9)
    return i[as_good], j[as_good]


def _score(worse: np.ndarray, better: np.ndarray, n: int, risk: float) -> np.ndarray:
    """Return the distance of the drop from `risk`, in standard deviations under the likeliest rates with that risk."""
    linear = worse * (1 - risk) + better * (1 - 3 * risk) - 2 * risk * (n - worse - better)
    q = (linear + np.sqrt(linear**2 + 8 * n * better * risk * (1 - risk))) / (4 * n)
    score: np.ndarray = (worse - better - n * risk) / np.sqrt(n * (2 * q + risk - risk**2))
    return score
