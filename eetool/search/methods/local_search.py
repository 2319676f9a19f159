"""Local search on the front, guided by predictions from single exits; thresholds are tuned inside every evaluation.

It differs from the loop of MSuNAS, which `aebnas` uses, in four points (docs/decisions/0067):

- The first candidates are few. They have few exits, and most have branches by rule, which are hard to beat with few
  evaluations (docs/explanation/search-design.md).
- Predictions are made from the accuracies and costs of exits, see `exit_surrogate`.
- New candidates are neighbours of the front: one or two genes differ, or the exits of two networks are exchanged.
- Of these the ones are taken that add most to the hypervolume, on a logarithmic axis of costs.

Where exits can be evaluated in other combinations without training (`recombination`), every generation is followed by a
search among those, and new candidates bring exits that are not trained yet (docs/decisions/0071).
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from eetool.search.methods.exit_surrogate import ExitSurrogate, knows_exits
from eetool.search.methods.pareto import pareto_front
from eetool.search.methods.planners import Admits, ObjectiveValues
from eetool.search.methods.recombination import ExitKey, Recombination, TrainedExits
from eetool.search.methods.surrogates import fit_trees, genome_features
from eetool.search.space.space import BACKBONE, EXITS, Genome, Space, genome_key

_FIRST_SHARE, _FEWEST_FIRST, _MOST_FIRST = 0.1, 8, 48
_GENERATIONS, _BATCH = 25, 8  # a long search has larger generations, not more
_POOL = 600  # neighbours that are predicted
_FEW_EXITS = 2  # in the first candidates
_EXPLORED = 8  # every eighth candidate is taken at random from the neighbours
_FRESH = 1  # exit of a candidate at least that is not trained yet, where others cost nothing
_FREE = 5  # networks of trained exits that are evaluated per candidate
_PATIENCE = 1000  # draws in a row without a new genome, after which the space counts as exhausted


class LocalPlanner:
    """Plans neighbours of the front, see the module; it is a `eetool.search.methods.planners.Planner`."""

    def __init__(self, space: Space, seed: int, trials: int, admits: Admits) -> None:
        self.space, self.seed, self.admits = space, seed, admits
        self.trained: TrainedExits | None = None  # set where exits can be evaluated in other combinations
        self._recombination = Recombination(space)
        self._free: dict[int, list[ObjectiveValues]] = {}  # by the number of candidates before
        self.first = min(trials, max(_FEWEST_FIRST, min(_MOST_FIRST, round(_FIRST_SHARE * trials))))
        self.batch = max(_BATCH, -(-trials // _GENERATIONS))

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the next candidates, see `Planner`."""
        first = len(self._first_genomes)  # fewer than wanted, where limits admit few
        if len(archive) < first or not self.space.genes:
            return self._first_genomes[len(archive) :]
        complete = first + (len(archive) - first) // self.batch * self.batch
        return self._generation(archive[:complete])[len(archive) - complete :]

    def recombined(self, archive: Sequence[ObjectiveValues]) -> list[ObjectiveValues]:
        """Return all networks of trained exits that were evaluated beside the candidates of `archive`.

        They depend on the seed and on `archive` alone; after an interruption they are evaluated again.
        """
        if self.trained is None:
            return []
        first, found = len(self._first_genomes), list[ObjectiveValues]()
        for end in sorted({*range(first, len(archive), self.batch), len(archive)}):
            if end not in self._free:
                self._free[end] = self._recombine([*archive[:end], *found], self.trained, end)
            found += self._free[end]
        return found

    def _recombine(self, known: Sequence[ObjectiveValues], trained: TrainedExits, end: int) -> list[ObjectiveValues]:
        """Return the figures of further networks of trained exits."""
        rng = np.random.default_rng([self.seed, end, 1])
        genomes = [one.genome for one in known]
        found = self._recombination.neighbours(self._parents(known), genomes, _POOL, rng)
        seen = set(map(genome_key, genomes))
        pool = {genome_key(g): g for g in found if genome_key(g) not in seen}
        chosen = self._best(known, list(pool.values()), rng, _FREE * self.batch) if pool else []
        return [trained.evaluate(genome) for genome in chosen]

    @cached_property
    def _first_genomes(self) -> list[Genome]:
        """The smallest and the largest backbone, then random ones, with few exits; most have branches by rule."""
        rng = np.random.default_rng([self.seed, 0])
        ends = (
            self._few_exits(self.space.with_adaptive(g), rng) for g in (self.space.smallest(), self.space.largest())
        )
        chosen: dict[str, Genome] = {}
        for genome in ends:
            if len(chosen) < self.first and self.admits(genome):
                chosen[genome_key(genome)] = genome
        return [*chosen.values(), *self._draw(self._starts(rng), set(chosen), self.first - len(chosen))]

    def _starts(self, rng: np.random.Generator) -> Iterator[Genome]:
        drawn = 0
        while True:
            genome, drawn = self.space.sample(rng), drawn + 1
            genome = genome if drawn % 4 == 0 else self.space.with_adaptive(genome)
            yield self._few_exits(genome, rng)

    def _few_exits(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return the genome with at most two of its exits, chosen at random."""
        present = [g.name for g in self.space.genes if g.group == EXITS and genome.get(g.name)]
        absent = dict.fromkeys(rng.permutation(present)[_FEW_EXITS:].tolist(), 0) if present else {}
        return self.space.express({**genome, **{n: v for n, v in absent.items() if v in self._choices[n]}})

    @cached_property
    def _choices(self) -> dict[str, tuple[int | float | str, ...]]:
        return {gene.name: gene.choices for gene in self.space.genes}

    def _draw(self, source: Iterator[Genome], seen: set[str], count: int) -> list[Genome]:
        """Take up to `count` different admissible genomes that are not in `seen`."""
        genomes: dict[str, Genome] = {}
        idle = 0
        while len(genomes) < count and idle < _PATIENCE:
            genome, idle = next(source), idle + 1
            key = genome_key(genome)
            if key not in seen and key not in genomes and self.admits(genome):
                genomes[key], idle = genome, 0
        return list(genomes.values())

    def _generation(self, candidates: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the generation after a complete one."""
        rng = np.random.default_rng([self.seed, len(candidates)])
        archive = [*candidates, *self.recombined(candidates)]
        seen = {genome_key(one.genome) for one in archive}
        pool = self._fresh(self._neighbours(self._parents(archive), seen, rng), archive)
        chosen = self._best(archive, pool, rng, self.batch) if pool else []
        rest = self._draw(self._samples(rng), seen | set(map(genome_key, chosen)), self.batch - len(chosen))
        return [*chosen, *rest]

    def _fresh(self, pool: list[Genome], archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the genomes with enough exits that are not trained, where others cost nothing."""
        if self.trained is None:
            return pool
        exits = self._recombination.exits
        known = frozenset[ExitKey]().union(*(exits(one.genome) for one in archive))
        own = [exits(genome) for genome in pool]
        return [g for g, has in zip(pool, own, strict=True) if has and len(has - known) >= min(_FRESH, len(has))]

    def _samples(self, rng: np.random.Generator) -> Iterator[Genome]:
        while True:
            yield self.space.sample(rng)

    def _parents(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the front of the candidates within limits; without any, those that exceed them least."""
        least = min(one.excess for one in archive)
        within = [one for one in archive if one.excess <= least]
        front = pareto_front(np.array([[one.error, one.cost] for one in within]))
        return [within[i].genome for i in front]

    def _neighbours(self, parents: Sequence[Genome], seen: set[str], rng: np.random.Generator) -> list[Genome]:
        """Return new neighbours of the parents, about equally many of each."""
        pool: dict[str, Genome] = {}
        for drawn in range(2 * _POOL):
            if len(pool) >= _POOL:
                break
            parent = parents[drawn % len(parents)]
            child = self._exchanged(parent, parents, rng) if rng.random() < 0.2 else self._changed(parent, rng)
            key = genome_key(child)
            if key not in seen:
                pool[key] = child
        return list(pool.values())

    def _changed(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return the genome with one or two of its active genes redrawn."""
        active = [gene for gene in self.space.genes if gene.name in genome and len(gene.choices) > 1]
        values = dict(genome)
        for _ in range(1 + int(rng.random() < 0.4) if active else 0):
            gene = active[rng.integers(len(active))]
            others = [choice for choice in gene.choices if choice != genome[gene.name]]
            values[gene.name] = others[rng.integers(len(others))]
        child = self.space.express(values)
        fresh = child.keys() - genome.keys()  # genes of a block or an exit that was absent
        if not fresh:
            return child
        drawn = zip(self.space.genes, self.space.draw(rng), strict=True)
        return self.space.express({**child, **{g.name: g.choices[i] for g, i in drawn if g.name in fresh}})

    def _exchanged(self, genome: Genome, parents: Sequence[Genome], rng: np.random.Generator) -> Genome:
        """Return the backbone of one network with everything else of another."""
        other = parents[int(rng.integers(len(parents)))]
        backbone = {gene.name for gene in self.space.genes if gene.group == BACKBONE}
        rest = {name: value for name, value in other.items() if name not in backbone}
        return self.space.express({**{n: v for n, v in genome.items() if n in backbone}, **rest})

    def _best(
        self, archive: Sequence[ObjectiveValues], pool: list[Genome], rng: np.random.Generator, count: int
    ) -> list[Genome]:
        """Return up to `count` genomes of the pool, in turn the one that adds most to the hypervolume."""
        error, cost = self._predict(archive, pool)
        points = np.stack([error, np.log(np.maximum(cost, 1e-12))], 1)
        least = min(one.excess for one in archive)
        within = [one for one in archive if one.excess <= least]
        known = np.array([[one.error, np.log(max(one.cost, 1e-12))] for one in within])
        reference = known.max(0) + 1e-6
        excess = self._excess(archive, pool)
        left, chosen = np.ones(len(pool), bool), list[Genome]()
        while left.any() and len(chosen) < count:
            gains = hypervolume_gains(points, known[pareto_front(known)], reference) - excess
            if len(chosen) % _EXPLORED == _EXPLORED - 1:
                gains = rng.random(len(pool))
            at = int(np.where(left, gains, -np.inf).argmax())
            left[at] = False
            if self.admits(pool[at]):
                chosen.append(pool[at])
                known = np.vstack([known, points[at]])
        return chosen

    def _predict(self, archive: Sequence[ObjectiveValues], pool: Sequence[Genome]) -> tuple[np.ndarray, np.ndarray]:
        if knows_exits(archive):
            return ExitSurrogate(self.space, archive, self.seed).predict(pool)
        x, new = (genome_features(self.space, genomes) for genomes in ([one.genome for one in archive], pool))
        error, cost = (
            fit_trees(x, np.array(values), self.seed)(new)
            for values in ([one.error for one in archive], [one.cost for one in archive])
        )
        return error, cost

    def _excess(self, archive: Sequence[ObjectiveValues], pool: Sequence[Genome]) -> np.ndarray:
        """Return predicted shares (n,) by which limits are exceeded; 0 where no candidate exceeds any."""
        excess = np.array([one.excess for one in archive])
        if not excess.any():
            return np.zeros(len(pool))
        x, new = (genome_features(self.space, genomes) for genomes in ([one.genome for one in archive], pool))
        return np.maximum(fit_trees(x, excess, self.seed)(new), 0)


def hypervolume_gains(points: np.ndarray, front: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return by how much each of the points (n, 2) alone would enlarge the area of a front.

    Args:
        points: both objectives to minimise.
        front: non-dominated points (m, 2), sorted by the second objective.
        reference: (2,) the corner of the area.
    """
    starts = np.append(-np.inf, front[:, 1])  # steps of the front: from where on each error is reached
    ends = np.append(front[:, 1], reference[1])
    heights = np.append(reference[0], front[:, 0])
    lengths = np.clip(ends - np.maximum(starts, points[:, 1:]), 0, None)
    gains: np.ndarray = (np.clip(heights - points[:, :1], 0, None) * lengths).sum(1)
    return gains
