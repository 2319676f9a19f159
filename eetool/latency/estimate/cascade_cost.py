"""Cost of leaving a cascade at each exit: every component that ran, rejected exits included."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from eetool.latency.build.cache_penalty import evicted_mb
from eetool.metrics import Thresholds
from eetool_runtime.manifest import Manifest

EXIT, SEGMENT = "exit", "segment"


@dataclass(frozen=True)
class CachePenalty:
    """Extra latency of components that run in turn: each evicts weights of the others (docs/decisions/0023).

    A component alone has no penalty. Of two or more, each adds `ms_per_component`, and `ms_per_mb` for the megabytes
    of its weights that the others evict.

    Attributes:
        trunk_mb: megabytes of weights of every component, by stretch of the trunk.
        heads_mb: megabytes of weights of each early exit; null where the exit is part of a trunk component.
    """

    trunk_mb: tuple[tuple[float, ...], ...]
    heads_mb: tuple[float | None, ...]
    ms_per_component: float
    ms_per_mb: float

    def leaving(self, runs: Sequence[bool], stretches: Sequence[bool]) -> np.ndarray:
        """Return the penalty in milliseconds of leaving at exit 0 … N.

        Args:
            runs: whether each early exit runs.
            stretches: whether each stretch of the trunk runs.
        """
        penalties = []
        weights: list[float] = []
        heads = [mb if run else None for mb, run in zip(self.heads_mb, runs, strict=True)]
        for stretch, needed, head in zip(self.trunk_mb, stretches, [*heads, None], strict=True):
            weights += [*(stretch if needed else ()), *([] if head is None else [head])]
            penalties.append(self._of(weights))
        return np.array(penalties)

    def _of(self, weights_mb: Sequence[float]) -> float:
        if len(weights_mb) < 2:
            return 0.0
        total = sum(weights_mb)
        evicted = sum(evicted_mb(own, total - own) for own in weights_mb)
        return self.ms_per_component * len(weights_mb) + self.ms_per_mb * evicted


@dataclass(frozen=True)
class CascadeCosts:
    """Costs of the parts of a cascade in one unit: MACs, milliseconds or millijoules.

    Attributes:
        trunk: cost from exit i − 1 to exit i; the last stretch includes the final classifier.
        heads: cost of each early exit.
        read_later: early exits whose outputs a trunk component reads, so that they always run.
        reads: for each early exit the earlier exits whose outputs it reads; empty where none reads any.
        cache: cache penalty, for latencies only.
        restarts: exits from whose stretch on nothing but outputs of exits is read of what ran before, as where the next
            network of a cascade begins.
        call: cost of every call, whichever components run.
    """

    trunk: tuple[float, ...]
    heads: tuple[float, ...]
    read_later: frozenset[int] = frozenset()
    reads: tuple[frozenset[int], ...] = ()
    cache: CachePenalty | None = None
    restarts: frozenset[int] = frozenset()
    call: float = 0.0
    _leaving: dict[tuple[bool, ...], np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def early(self) -> int:
        """Number of early exits."""
        return len(self.heads)

    def leaving(self, thresholds: Thresholds) -> np.ndarray:
        """Return the cost of an input that leaves at exit 0 … N, as a read-only array (exits,).

        An exit whose gate never fires does not run, unless a component that runs reads its outputs. A stretch of the
        trunk runs where an exit that runs needs it.
        """
        gated = tuple(t is not None for t in thresholds)
        if gated not in self._leaving:
            self._leaving[gated] = self._costs(gated)
        return self._leaving[gated]

    def _costs(self, gated: tuple[bool, ...]) -> np.ndarray:
        runs = [gate or i in self.read_later for i, gate in enumerate(gated)]
        for later in reversed(range(len(self.reads))):
            for earlier in self.reads[later] if runs[later] else ():
                runs[earlier] = True
        stretches = self._stretches(runs)
        heads = [cost if run else 0.0 for cost, run in zip(self.heads, runs, strict=True)]
        trunk = [cost if run else 0.0 for cost, run in zip(self.trunk, stretches, strict=True)]
        total: np.ndarray = np.cumsum(trunk) + np.cumsum([*heads, 0.0]) + self.call
        if self.cache is not None:
            total = total + self.cache.leaving(runs, stretches)
        total.setflags(write=False)
        return total

    def _stretches(self, runs: Sequence[bool]) -> list[bool]:
        """Return which stretches of the trunk run: those before an exit that runs, without a restart between."""
        needed, stretches = True, list[bool]()
        for i in reversed(range(len(self.trunk))):
            needed = needed or runs[i]
            stretches.insert(0, needed)
            needed = needed and i not in self.restarts
        return stretches


class WiredComponent(NamedTuple):
    """A component of a bundle or of a recording; `inputs` and `outputs` are names of tensors."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class CascadeLayout:
    """Names of components by their place in the cascade.

    Attributes:
        trunk: components from exit i − 1 to exit i that run for every input that gets there.
        heads: component of each early exit; null where the exit is part of a trunk component.
        read_later, reads, restarts: see `CascadeCosts`.
    """

    trunk: tuple[tuple[str, ...], ...]
    heads: tuple[str | None, ...]
    read_later: frozenset[int] = frozenset()
    reads: tuple[frozenset[int], ...] = ()
    restarts: frozenset[int] = frozenset()

    def arrange(self, cost: Mapping[str, float]) -> CascadeCosts:
        """Return costs by component as costs by exit."""
        trunk = tuple(sum((cost[name] for name in stretch), 0.0) for stretch in self.trunk)
        heads = tuple(0.0 if name is None else cost[name] for name in self.heads)
        return CascadeCosts(trunk, heads, self.read_later, self.reads, restarts=self.restarts)

    def full_pass(self) -> list[str]:
        """Return the components that run where no gate can fire, by stretch."""
        parts = zip(self.trunk, (*self.heads, None), strict=True)
        names = [name for stretch, head in parts for name in (*stretch, head) if name is not None]
        never = (None,) * len(self.heads)
        return [n for n in names if self.arrange({other: float(other == n) for other in names}).leaving(never)[-1]]

    def running_sums(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Return the sum of the amounts of each component and of all before it."""
        parts = zip(self.trunk, (*self.heads, None), strict=True)
        names = [name for stretch, head in parts for name in (*stretch, head) if name is not None]
        return dict(zip(names, accumulate(amounts[name] for name in names), strict=True))

    def cache_penalty(
        self, weights_mb: Mapping[str, float], ms_per_component: float, ms_per_mb: float
    ) -> CachePenalty | None:
        """Return the cache penalty of components with these weights; null where both coefficients are 0."""
        if not ms_per_component and not ms_per_mb:
            return None
        trunk = tuple(tuple(weights_mb[name] for name in stretch) for stretch in self.trunk)
        heads = tuple(None if name is None else weights_mb[name] for name in self.heads)
        return CachePenalty(trunk, heads, ms_per_component, ms_per_mb)


def layout_of_components(components: Sequence[WiredComponent], owners: Sequence[str]) -> CascadeLayout:
    """Return the layout of components in running order.

    Args:
        components: segments and exits.
        owners: name of the component that computes each exit, the final one included.
    """
    early = {owner: i for i, owner in enumerate(owners[:-1])}
    gated = {c.name for c in components if c.kind == EXIT and c.name in early}
    trunk: list[list[str]] = [[] for _ in owners]
    stretch, places = 0, dict[str, int]()
    for c in components:
        places[c.name] = stretch
        if c.name not in gated:
            trunk[stretch].append(c.name)
        if c.name in early:
            stretch = early[c.name] + 1
    makers = {tensor: c.name for c in components for tensor in c.outputs}
    read = {c.name: frozenset(early[makers[n]] for n in c.inputs if makers.get(n) in early) for c in components}
    read_later = frozenset[int]().union(*(read[c.name] for c in components if c.name not in gated))
    reads = tuple(read[owner] if owner in gated else frozenset[int]() for owner in early)
    crossings = [
        (places[makers[name]], places[c.name])
        for c in components
        for name in c.inputs
        if name in makers and makers[name] not in gated
    ]
    return CascadeLayout(
        tuple(map(tuple, trunk)),
        tuple(owner if owner in gated else None for owner in early),
        read_later,
        reads if any(reads) else (),
        find_restarts(len(owners), crossings),
    )


def find_restarts(exits: int, crossings: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Return the stretches of the trunk, from the second on, that begin anew.

    Args:
        exits: number of exits, and of stretches.
        crossings: stretches of the writer and the reader of every tensor that is no output of an exit.
    """
    inside = {between for writer, reader in crossings for between in range(writer + 1, reader + 1)}
    return frozenset(range(1, exits)) - inside


def layout_of_manifest(manifest: Manifest) -> CascadeLayout:
    """Return the layout of a bundle's components."""
    components = [WiredComponent(c.name, c.kind, c.inputs, c.outputs) for c in manifest.components]
    return layout_of_components(components, [e.component for e in manifest.exits])
