"""Latency of a network by kernel, and the uncertainty of the ratio of two latencies from one table.

Two networks on one device are priced by the same table, so their errors are not independent. An error of a kernel that
both run changes both latencies, and the ratio only as far as the kernel's share of the two differs. The ratio of

    A = sum of a_k and B = sum of b_k with relative errors e_k has the error: sum of (a_k / A − b_k / B) e_k

The error of a kernel is that of its kind, common to all kernels of the kind, and one of its own. What the table does
not explain even for networks of the same kernels is `Composition.ratio_error`, from pairs of networks that were left
out of its fit.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from eetool.latency.estimate.cascade_price import LATENCY, CascadePrice
from eetool.latency.estimate.coverage import kind_name
from eetool.latency.estimate.prediction_target import PredictionTarget
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.intervals import CORRELATION, DEVIATIONS
from eetool.latency.table.table import Composition
from eetool.metrics import Thresholds

_UNSTATED = 1.0
# Error of a kind over the stated one, which is of whole networks: there, errors of kinds partly cancel. Chosen on pairs
# of networks that the fit of the Raspberry Pi 4 left out; docs/results/board-tables.md tests it on others.
_KIND_ERROR = 1.5
LEVEL = 0.95  # of intervals of ratios, as in benchmarks


@dataclass(frozen=True)
class KernelShare:
    """Milliseconds that a network spends in one kernel, and the relative deviation of its cost."""

    kind: str
    ms: float
    deviation: float


@dataclass(frozen=True)
class LatencyBreakdown:
    """Mean latency of a network: its kernels by their identity, and the rest.

    Attributes:
        kernels: kernels that run, weighted with how often they do.
        other_ms: calls, gates, and weights that the caches do not hold.
        other_deviation_ms: standard deviation of `other_ms`, and of the mean over a finite number of inputs.
    """

    kernels: Mapping[object, KernelShare]
    other_ms: float
    other_deviation_ms: float

    @property
    def total_ms(self) -> float:
        """Latency of the network."""
        return sum(share.ms for share in self.kernels.values()) + self.other_ms


def graph_breakdown(kernels: Sequence[Kernel], predictor: Predictor) -> LatencyBreakdown:
    """Return the breakdown of one graph that runs alone."""
    composition = predictor.kernel_costs.composition
    other_ms = composition.dispatch_ms + composition.streaming_ms(kernels)
    return LatencyBreakdown(_shares([(kernels, 1.0)], predictor), other_ms, 0.0)


def point_breakdown(
    target: PredictionTarget,
    price: CascadePrice,
    predictor: Predictor,
    thresholds: Thresholds,
    exit_shares: Sequence[float],
    inputs: int,
) -> LatencyBreakdown:
    """Return the breakdown of a cascade at an operating point.

    Args:
        target: graphs and layout of the cascade.
        price: its costs.
        predictor: prices of kernels.
        thresholds: of the operating point.
        exit_shares: share of inputs that leave at each exit.
        inputs: number of inputs that the shares are from; 0 where they are exact.
    """
    layout = target.layout
    assert layout is not None  # only cascades have operating points
    runs = {
        name: float(np.dot(exit_shares, layout.arrange(_only(name, target.graphs)).leaving(thresholds)))
        for name in target.graphs
    }
    kernels = _shares([(target.graphs[name], often) for name, often in runs.items()], predictor)
    leaving_ms = price.costs[LATENCY].leaving(thresholds)
    mean_ms = float(np.dot(exit_shares, leaving_ms))
    variance = float(np.dot(exit_shares, (leaving_ms - mean_ms) ** 2)) / inputs if inputs else 0.0
    calls_ms = float(np.dot(exit_shares, price.call_errors_ms.leaving(thresholds))) / DEVIATIONS
    rest_ms = mean_ms - sum(share.ms for share in kernels.values())
    return LatencyBreakdown(kernels, rest_ms, math.hypot(calls_ms, math.sqrt(variance)))


def ratio_interval(
    point: LatencyBreakdown, other: LatencyBreakdown, composition: Composition
) -> tuple[float, float, float]:
    """Return the ratio of two latencies with its 95 % interval: ratio, lower and upper bound."""
    ratio = point.total_ms / other.total_ms
    half = float(ndtri((1 + LEVEL) / 2)) * _ratio_deviation(point, other, composition)
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


def _ratio_deviation(point: LatencyBreakdown, other: LatencyBreakdown, composition: Composition) -> float:
    weights: dict[object, float] = defaultdict(float)
    kinds: dict[object, str] = {}
    for network, sign in ((point, 1), (other, -1)):
        for key, share in network.kernels.items():
            weights[key] += sign * share.ms / network.total_ms * share.deviation
            kinds[key] = share.kind
    by_kind: dict[str, float] = defaultdict(float)
    for key, weight in weights.items():
        by_kind[kinds[key]] += weight
    independent = sum(weight**2 for weight in weights.values())
    common = sum(weight**2 for weight in by_kind.values())
    rest = sum((n.other_deviation_ms / n.total_ms) ** 2 for n in (point, other))
    unexplained = unexplained_deviation(composition) ** 2
    return math.sqrt(unexplained + (1 - CORRELATION) * independent + _KIND_ERROR**2 * common + rest)


def unexplained_deviation(composition: Composition) -> float:
    """Return the relative deviation of a ratio that kernels do not explain.

    Tables without `ratio_error` have that of two independent whole networks. A table that states no error at all is
    not trusted: its ratios may be wrong by a factor of seven.
    """
    if not composition.n or (composition.ratio_error is None and not composition.cv_error):
        return _UNSTATED
    if composition.ratio_error is not None:
        return composition.ratio_error
    return math.sqrt(2) * 1.4826 * composition.cv_error  # median error to standard deviation


def _only(name: str, names: Iterable[str]) -> dict[str, float]:
    return {other: float(other == name) for other in names}


def _shares(graphs: Sequence[tuple[Sequence[Kernel], float]], predictor: Predictor) -> dict[object, KernelShare]:
    step_ms = predictor.kernel_costs.composition.step_ms
    shares: dict[object, KernelShare] = {}
    for kernels, often in graphs:
        for kernel in kernels if often > 0 else ():
            cost = predictor.kernel_costs.latency(kernel)
            known = shares.get(kernel.key)
            ms = often * (cost.value + step_ms) + (known.ms if known is not None else 0.0)
            shares[kernel.key] = KernelShare(kind_name(kernel), ms, cost.deviation)
    return shares
