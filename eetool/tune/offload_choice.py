"""Choice between a server and the device alone, for every operating point, by their mean costs on the device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.offload_cost import OffloadCosts
from eetool_runtime.manifest import Expected, OperatingPoint
from eetool_runtime.manifest_offload import OffloadPoint

# Extra charges of an input that is sent, in full passes of the device, by which a limit of their share is kept.
PRICES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class OffloadChoice:
    """Decision for one operating point. Costs are means over inputs, in the unit of the costs on the device.

    Attributes:
        offloads: whether inputs are sent.
        local: cost of the point without a server.
        link_up: cost with the server; null where no thresholds keep the largest share.
        link_down: cost of the same thresholds where the device runs all components itself.
        share: share of the inputs that are sent with the server.
        wait: mean cost of asking the server.
        break_even: largest such cost at which the server would pay; null where nothing is sent.
    """

    offloads: bool
    local: float
    link_up: float | None
    link_down: float | None
    share: float | None
    wait: float
    break_even: float | None


def choose_offload(
    local: Mapping[str, OperatingPoint],
    offers: Mapping[str, Iterable[OffloadPoint]],
    alone: CascadeCosts,
    together: OffloadCosts,
    max_share: float | None = None,
) -> tuple[dict[str, OffloadPoint], dict[str, OffloadChoice]]:
    """Return the points that send inputs to the server, and the decision for every operating point.

    A point sends inputs only where that costs less than the point without a server, so no choice is worse than never
    offloading.

    Args:
        local: operating points without a server.
        offers: candidates of each point with one; `together` prices them all alike.
        alone: costs of the cascade on the device.
        together: costs with a server, without an extra charge.
        max_share: largest share of the inputs that may be sent.
    """
    chosen, decisions = dict[str, OffloadPoint](), dict[str, OffloadChoice]()
    for name, point in local.items():
        if point.expected is None:
            continue
        without = _mean(point.expected, point.thresholds, alone)
        kept = [
            offer
            for offer in offers.get(name, ())
            if offer.link_up is not None
            and (max_share is None or (offer.offload_share or 0.0) <= max_share + _ROUNDING)
        ]
        costs = [_mean(offer.link_up, offer.thresholds, together) for offer in kept if offer.link_up is not None]
        if not kept:
            decisions[name] = OffloadChoice(False, without, None, None, None, together.asked.wait, None)
            continue
        best = int(np.argmin(costs))
        decision = _decide(kept[best], costs[best], without, alone, together)
        decisions[name] = decision
        if decision.offloads:
            chosen[name] = kept[best]
    return chosen, decisions


def _decide(
    offer: OffloadPoint, cost: float, without: float, alone: CascadeCosts, together: OffloadCosts
) -> OffloadChoice:
    down = None if offer.link_down is None else _mean(offer.link_down, offer.thresholds, alone)
    share = offer.offload_share or 0.0
    break_even = None if share <= 0 else (without - cost) / share + together.asked.wait
    pays = share > 0 and cost < without - _ROUNDING
    return OffloadChoice(pays, without, cost, down, offer.offload_share, together.asked.wait, break_even)


def _mean(expected: Expected, thresholds: tuple[float | None, ...], costs: CascadeCosts) -> float:
    return float(np.dot(expected.exit_shares, costs.leaving(thresholds)))
