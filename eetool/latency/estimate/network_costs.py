"""Costs of a cascade of networks taken apart by network, and put together in another order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from eetool.latency.estimate.cascade_cost import CachePenalty, CascadeCosts


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of one network of a cascade. Exits are counted inside the network.

    Attributes:
        trunk: cost from one exit to the next, up to the last exit inside.
        heads: cost of each exit inside.
        final: cost from there to the network's own classifier.
        read_later: exits inside whose outputs a part of the trunk reads.
        reads: for each exit, the classifier last, the exits inside whose outputs it reads.
        trunk_mb, heads_mb, final_mb: megabytes of weights, see `CachePenalty`.
    """

    trunk: tuple[float, ...]
    heads: tuple[float, ...]
    final: float
    read_later: frozenset[int]
    reads: tuple[frozenset[int], ...]
    trunk_mb: tuple[tuple[float, ...], ...] = ()
    heads_mb: tuple[float | None, ...] = ()
    final_mb: float = 0.0


def split_costs(costs: CascadeCosts, exits: Sequence[int]) -> list[NetworkCosts]:
    """Return the costs of every network of a cascade.

    Args:
        costs: of the whole cascade.
        exits: number of exits of each network, its classifier included.
    """
    ends = list(accumulate(exits))
    return [_part(costs, end - count, end - 1) for count, end in zip(exits, ends, strict=True)]


def _part(costs: CascadeCosts, first: int, last: int) -> NetworkCosts:
    """Return the costs of the network whose exits are `first` to `last`."""
    inside = range(first, last)

    def own(read: frozenset[int]) -> frozenset[int]:
        return frozenset(i - first for i in read if i in inside)

    closing = last == costs.early  # the last network, whose classifier is part of the trunk
    by_trunk = own(costs.read_later)
    reads = [own(costs.reads[i]) if costs.reads else frozenset[int]() for i in range(first, min(last + 1, costs.early))]
    part = NetworkCosts(
        costs.trunk[first:last],
        costs.heads[first:last],
        costs.trunk[last] + (0.0 if closing else costs.heads[last]),
        frozenset() if closing else by_trunk,
        (*reads, by_trunk) if closing else tuple(reads),
    )
    if costs.cache is None:
        return part
    trunk_mb, heads_mb = costs.cache.trunk_mb, costs.cache.heads_mb
    head_mb = 0.0 if closing else heads_mb[last] or 0.0
    final_mb = sum(trunk_mb[last]) + head_mb
    return replace(part, trunk_mb=trunk_mb[first:last], heads_mb=heads_mb[first:last], final_mb=final_mb)


def join_costs(parts: Sequence[NetworkCosts], whole: CascadeCosts, ensemble: bool) -> CascadeCosts:
    """Return the costs of a cascade of these networks.

    Args:
        parts: in running order.
        whole: costs that they were taken from, for what belongs to no network.
        ensemble: each exit reads the final logits of the network before.
    """
    trunk, heads, reads = list[float](), list[float](), list[frozenset[int]]()
    trunk_mb, heads_mb = list[tuple[float, ...]](), list[float | None]()
    read_later, restarts = set[int](), set[int]()
    for index, part in enumerate(parts):
        first, closing = len(trunk), index == len(parts) - 1
        before = {first - 1} if ensemble and index else set[int]()
        restarts |= {first} if index else set()
        read_later |= {first + i for i in part.read_later}
        by_exit = [frozenset({first + i for i in read} | before) for read in part.reads]
        trunk += [*part.trunk, part.final if closing else 0.0]
        heads += [*part.heads, *([] if closing else [part.final])]
        reads += by_exit[:-1] if closing else by_exit
        read_later |= by_exit[-1] if closing else set()
        trunk_mb += [*part.trunk_mb, (part.final_mb,) if closing else ()]
        heads_mb += [*part.heads_mb, *([] if closing else [part.final_mb])]
    cache = whole.cache
    if cache is not None:
        cache = CachePenalty(tuple(trunk_mb), tuple(heads_mb), cache.ms_per_component, cache.ms_per_mb)
    return CascadeCosts(
        tuple(trunk),
        tuple(heads),
        frozenset(read_later),
        tuple(reads) if any(reads) else (),
        cache,
        frozenset(restarts),
        whole.call,
    )
