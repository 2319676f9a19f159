"""Planners: objects that choose the next candidates of a search.

A planner depends on the seed and on the results so far only. It plans one generation at a time, and only after the
generation before it is complete. So the candidates are the same for one worker or many, interrupted or not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from eetool.search.methods.nsga2 import evolve
from eetool.search.methods.surrogates import choose_surrogate, genome_features
from eetool.search.space.space import Genome, Space, genome_key

_BATCH = 8  # candidates per generation
_RANDOM_SHARE = 5 / 9  # of all evaluations, before predictors are fitted: 100 of 180 in NACHOS
_FEWEST_RANDOM, _MOST_RANDOM = 4, 100
_PATIENCE = 1000  # draws in a row without a new genome, after which the space counts as exhausted

Admits = Callable[[Genome], bool]


@dataclass(frozen=True)
class ObjectiveValues:
    """A candidate and its figures.

    Attributes:
        genome: its genes.
        error, cost: what is minimised.
        excess: share by which it exceeds limits.
        exit_accuracies: of every exit alone on all examples, the final one last; empty where they are unknown.
        exit_costs: costs of leaving at every exit, likewise.
    """

    genome: Genome
    error: float
    cost: float
    excess: float
    exit_accuracies: tuple[float, ...] = ()
    exit_costs: tuple[float, ...] = ()


class Planner(Protocol):
    """Chooses the next candidates."""

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the next candidates, none of which is in `archive`; empty where no others exist."""


class SurrogatePlanner:
    """Loop of MSuNAS (arXiv 2007.10396) as CNAS, EDANAS and NACHOS use it, see `eetool.search.methods.surrogates`.

    The first candidates are random. Every second of them has branches by rule, so that a search of branches starts
    from the branches of the methods that fix them. Then every generation repeats three steps:

    1. Choose and fit predictors of error, cost and excess.
    2. Run NSGA-II on the predictions, starting from the front.
    3. Take new candidates of its last population whose cost is furthest from all known costs.
    """

    def __init__(self, space: Space, seed: int, trials: int, admits: Admits) -> None:
        self.space, self.seed, self.admits = space, seed, admits
        first = round(trials * _RANDOM_SHARE)
        self.first = min(trials, max(_FEWEST_RANDOM, min(_MOST_RANDOM, first)))
        self.batch = _BATCH  # candidates of a generation

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the next candidates, see `Planner`."""
        first = len(self._random_genomes)  # fewer than wanted, where limits admit few
        if len(archive) < first or not self.space.genes:
            return self._random_genomes[len(archive) :]
        complete = first + (len(archive) - first) // self.batch * self.batch
        return self._generation(archive[:complete])[len(archive) - complete :]

    def _generation(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the generation after a complete one."""
        rng = np.random.default_rng([self.seed, len(archive)])
        x = genome_features(self.space, [outcome.genome for outcome in archive])
        figures = [np.array([getattr(o, name) for o in archive]) for name in ("error", "cost", "excess")]
        error, cost, excess = (self._predictor(x, y) for y in figures)
        order = np.lexsort((figures[1], figures[0], figures[2]))
        start = [archive[i].genome for i in order[: len(order) // 2]]

        def objectives(genomes: Sequence[Genome]) -> tuple[np.ndarray, np.ndarray]:
            points = genome_features(self.space, genomes)
            return error(points), cost(points)

        population = evolve(
            self.space, start, objectives, rng, lambda genomes: excess(genome_features(self.space, genomes))
        )
        seen = {genome_key(outcome.genome) for outcome in archive}
        fresh = [genome for genome in population if genome_key(genome) not in seen and self.admits(genome)]
        chosen = _spread_by_cost(fresh, objectives(fresh)[1], figures[1], self.batch) if fresh else []
        return [*chosen, *self._draw_unseen(rng, seen | set(map(genome_key, chosen)), self.batch - len(chosen))]

    @cached_property
    def _random_genomes(self) -> list[Genome]:
        """The smallest and the largest network, and random ones, every second of them with branches by rule."""
        ends = self._ends()
        first = list(ends.values())[: self.first]
        rng = np.random.default_rng([self.seed, 0])
        return [*first, *self._draw_unseen(rng, set(ends), self.first - len(first), half_by_rule=True)]

    def _ends(self) -> dict[str, Genome]:
        """Return by key the smallest and the largest network where admissible, the latter with all or no exits."""
        largest = self.space.largest()
        forms = ((self.space.smallest(),), (largest, self.space.without_exits(largest)))
        ends = (next(filter(self.admits, of_one), None) for of_one in forms)
        return {genome_key(genome): genome for genome in ends if genome is not None}

    def _draw_unseen(
        self, rng: np.random.Generator, seen: set[str], count: int, half_by_rule: bool = False
    ) -> list[Genome]:
        """Draw up to `count` different admissible genomes that are not in `seen`."""
        genomes: dict[str, Genome] = {}
        idle = drawn = 0
        while len(genomes) < count and idle < _PATIENCE:
            genome, idle, drawn = self.space.sample(rng), idle + 1, drawn + 1
            if half_by_rule and drawn % 2 == 0:
                genome = self.space.with_adaptive(genome)
            if genome_key(genome) not in seen | genomes.keys() and self.admits(genome):
                genomes[genome_key(genome)], idle = genome, 0
        return list(genomes.values())

    def _predictor(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        if np.ptp(y) == 0:
            return lambda points: np.full(len(points), y[0])
        return choose_surrogate(x, y, self.seed).predict


class SamplerPlanner:
    """Planner around a sampler of Optuna, asked for one generation at a time.

    It is replayed from the start: its proposals depend on its seed and on the reported results, so none of its state
    is stored.
    """

    def __init__(self, space: Space, sampler: Any, admits: Admits) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.admits = space, admits
        self.study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        self.asked: list[tuple[Any, Genome]] = []
        self.reported = 0

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """Return the next candidates, see `Planner`."""
        while True:
            for (trial, _), outcome in zip(self.asked[self.reported :], archive[self.reported :], strict=False):
                trial.set_constraint("excess", outcome.excess)
                self.study.tell(trial, (outcome.error, outcome.cost))
                self.reported += 1
            if len(archive) < len(self.asked) or not self._ask():
                return [genome for _, genome in self.asked[len(archive) :]]

    def _ask(self) -> bool:
        """Ask for one more generation; return False where it holds nothing new."""
        from optuna.trial import TrialState

        seen, before = {genome_key(genome) for _, genome in self.asked}, len(self.asked)
        idle, sizes = 0, self.space.draw_sizes
        while len(self.asked) < before + _BATCH and idle < _PATIENCE:
            trial, idle = self.study.ask(), idle + 1
            values = [trial.suggest_int(g.name, 0, int(n) - 1) for g, n in zip(self.space.genes, sizes, strict=True)]
            genome = self.space.genome(self.space.drawn(values))
            if genome_key(genome) in seen or not self.admits(genome):
                self.study.tell(trial, state=TrialState.PRUNED)
                continue
            seen.add(genome_key(genome))
            self.asked.append((trial, genome))
            idle = 0
        return len(self.asked) > before


def sampler_planner(name: str) -> Callable[[Space, int, int, Admits], Planner]:
    """Return what makes a planner around Optuna's sampler `name`: `nsga2`, `tpe` or `random`."""
    return lambda space, seed, trials, admits: SamplerPlanner(space, _sampler(name, seed, trials), admits)


def _sampler(name: str, seed: int, trials: int) -> Any:
    import optuna

    if name == "nsga2":
        population = max(_BATCH, min(40, trials // 4))
        return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _spread_by_cost(genomes: Sequence[Genome], costs: np.ndarray, known: np.ndarray, count: int) -> list[Genome]:
    """Return `count` genomes, each with the cost furthest from all `known` costs and from those already chosen.

    NACHOS evens out the gaps along the cost with a small genetic algorithm. Taking the largest gap first gives the
    same without another search.
    """
    left, chosen, places = list(range(len(genomes))), list[int](), list(known)
    while left and len(chosen) < count:
        gaps = [float(np.abs(np.asarray(places) - costs[i]).min()) for i in left]
        best = left.pop(int(np.argmax(gaps)))
        chosen.append(best)
        places.append(costs[best])
    return [genomes[i] for i in chosen]
