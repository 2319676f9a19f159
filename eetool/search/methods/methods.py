"""Search methods: what each of them searches, and how it plans the next candidates.

A planner is a function of the seed and of what was found so far. It plans a generation at a time, and never looks at a
generation that is not complete; so one worker or many, interrupted or not, evaluate the same candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from eetool.errors import UsageError
from eetool.model.gate_scores import MARGIN
from eetool.search.methods.surrogates import choose_surrogate, evolve, genome_features
from eetool.search.space.space import BRANCHES, EXITS, GATE, NEVER, SCORE, Genome, Space, genome_key

_BATCH = 8  # candidates per generation
_SHARE_AT_RANDOM = 5 / 9  # of all evaluations, before predictors are fitted: 100 of 180 in NACHOS
_FEWEST_AT_RANDOM, _MOST_AT_RANDOM = 4, 100
_PATIENCE = 1000  # draws in a row that bring nothing new, before what limits leave of a space counts as searched
_EDANAS_THRESHOLDS = (0.1, 0.2, NEVER)

Admits = Callable[[Genome], bool]


@dataclass(frozen=True)
class ObjectiveValues:
    """A candidate and what is to be small: its error, its cost, and the share by which it exceeds limits."""

    genome: Genome
    error: float
    cost: float
    excess: float


class Planner(Protocol):
    """Plans candidates."""

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """The next candidates, none of which is in `archive`; nothing where no others were found."""


@dataclass(frozen=True)
class Method:
    """What a method searches: its own form of a space, rules for thresholds, and its planner.

    Attributes:
        thresholds, learned: see `eetool.search.evaluation.evaluator.EvaluationSettings`.
        planner: from the space, the seed, the number of evaluations, and which genomes may be planned.
        screened: only networks are planned whose exits can pay, see `eetool.search.evaluation.evaluator.Evaluator.can_pay`.
    """

    space: Callable[[Space], Space]
    thresholds: str
    learned: bool
    planner: Callable[[Space, int, int, Admits], Planner]
    screened: bool = True


class SurrogatePlanner:
    """MSuNAS' loop (arXiv 2007.10396) as CNAS, EDANAS and NACHOS run it, see `eetool.search.methods.surrogates`.

    First random candidates, every second one with branches by rule, so that a search of branches begins where methods
    with fixed ones stay. Then, again and again, predictors of error, cost and excess are chosen and fitted, NSGA-II
    runs on them from the front on, and of its last population those new candidates are taken, one after the other,
    whose cost is furthest from all that is on the front or taken already.
    """

    def __init__(self, space: Space, seed: int, trials: int, admits: Admits) -> None:
        self.space, self.seed, self.admits = space, seed, admits
        first = round(trials * _SHARE_AT_RANDOM)
        self.first = min(trials, max(_FEWEST_AT_RANDOM, min(_MOST_AT_RANDOM, first)))

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """See `Planner`."""
        first = len(self._at_random)  # fewer than were wanted, where limits admit few
        if len(archive) < first or not self.space.genes:
            return self._at_random[len(archive) :]
        begun = first + (len(archive) - first) // _BATCH * _BATCH
        return self._generation(archive[:begun])[len(archive) - begun :]

    def _generation(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """The generation that follows a complete one."""
        rng = np.random.default_rng([self.seed, len(archive)])
        x = genome_features(self.space, [outcome.genome for outcome in archive])
        figures = [np.array([getattr(o, name) for o in archive]) for name in ("error", "cost", "excess")]
        error, cost, excess = (self._predictor(x, y) for y in figures)
        order = np.lexsort((figures[1], figures[0], figures[2]))
        start = [archive[i].genome for i in order[: len(order) // 2]]

        def objectives(genomes: Sequence[Genome]) -> tuple[np.ndarray, np.ndarray]:
            points = genome_features(self.space, genomes)
            return error(points), cost(points)

        found = evolve(self.space, start, objectives, rng, lambda genomes: excess(genome_features(self.space, genomes)))
        seen = {genome_key(outcome.genome) for outcome in archive}
        fresh = [genome for genome in found if genome_key(genome) not in seen and self.admits(genome)]
        chosen = _spread(fresh, objectives(fresh)[1], figures[1], _BATCH) if fresh else []
        return [*chosen, *self._unseen(rng, seen | set(map(genome_key, chosen)), _BATCH - len(chosen))]

    @cached_property
    def _at_random(self) -> list[Genome]:
        """The largest and the smallest network, and random ones, every second of them with branches by rule."""
        ends = {genome_key(g): g for g in (self.space.smallest(), self.space.largest()) if self.admits(g)}
        begun = list(ends.values())[: self.first]
        rng = np.random.default_rng([self.seed, 0])
        return [*begun, *self._unseen(rng, set(ends), self.first - len(begun), half_by_rule=True)]

    def _unseen(self, rng: np.random.Generator, seen: set[str], count: int, half_by_rule: bool = False) -> list[Genome]:
        """Up to `count` random genomes that may be planned and are not in `seen` nor twice among themselves."""
        found: dict[str, Genome] = {}
        idle = drawn = 0
        while len(found) < count and idle < _PATIENCE:
            genome, idle, drawn = self.space.sample(rng), idle + 1, drawn + 1
            if half_by_rule and drawn % 2 == 0:
                genome = self.space.with_adaptive(genome)
            if genome_key(genome) not in seen | found.keys() and self.admits(genome):
                found[genome_key(genome)], idle = genome, 0
        return list(found.values())

    def _predictor(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        if np.ptp(y) == 0:
            return lambda points: np.full(len(points), y[0])
        return choose_surrogate(x, y, self.seed).predict


class SamplerPlanner:
    """A sampler of Optuna, asked in generations. It is replayed from the start: what it proposes follows from its seed
    and from what it was told, so nothing of it has to be stored.
    """

    def __init__(self, space: Space, sampler: Any, admits: Admits) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.admits = space, admits
        self.study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        self.asked: list[tuple[Any, Genome]] = []
        self.told = 0

    def plan(self, archive: Sequence[ObjectiveValues]) -> list[Genome]:
        """See `Planner`."""
        while True:
            for (trial, _), outcome in zip(self.asked[self.told :], archive[self.told :], strict=False):
                trial.set_constraint("excess", outcome.excess)
                self.study.tell(trial, (outcome.error, outcome.cost))
                self.told += 1
            if len(archive) < len(self.asked) or not self._ask():
                return [genome for _, genome in self.asked[len(archive) :]]

    def _ask(self) -> bool:
        """Ask for one generation more; False where nothing new comes."""
        from optuna.trial import TrialState

        seen, before = {genome_key(genome) for _, genome in self.asked}, len(self.asked)
        idle = 0
        while len(self.asked) < before + _BATCH and idle < _PATIENCE:
            trial, idle = self.study.ask(), idle + 1
            genome = self.space.genome([trial.suggest_int(g.name, 0, len(g.choices) - 1) for g in self.space.genes])
            if genome_key(genome) in seen or not self.admits(genome):
                self.study.tell(trial, state=TrialState.PRUNED)
                continue
            seen.add(genome_key(genome))
            self.asked.append((trial, genome))
            idle = 0
        return len(self.asked) > before


def _sampler(name: str, seed: int, trials: int) -> Any:
    import optuna

    if name == "nsga2":
        population = max(_BATCH, min(40, trials // 4))
        return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _with_sampler(name: str) -> Callable[[Space, int, int, Admits], Planner]:
    return lambda space, seed, trials, admits: SamplerPlanner(space, _sampler(name, seed, trials), admits)


def _spread(genomes: Sequence[Genome], costs: np.ndarray, known: np.ndarray, count: int) -> list[Genome]:
    """`count` of them, each the one whose cost is furthest from all `known` costs and from those before it.

    NACHOS lets a small genetic algorithm even out the gaps along the cost; taking the largest gap first comes to the
    same and needs no search of its own.
    """
    left, chosen, places = list(range(len(genomes))), list[int](), list(known)
    while left and len(chosen) < count:
        gaps = [float(np.abs(np.asarray(places) - costs[i]).min()) for i in left]
        best = left.pop(int(np.argmax(gaps)))
        chosen.append(best)
        places.append(costs[best])
    return [genomes[i] for i in chosen]


def _whole(space: Space) -> Space:
    return space


def _nachos(space: Space) -> Space:
    """Presence of exits at fixed places; branches and gates are given."""
    return space.without(BRANCHES, GATE).only({g.name: g.choices[:2] for g in space.genes if g.group == EXITS})


def _edanas(space: Space) -> Space:
    """Exits at all places, fixed branches, gates on the margin, thresholds as genes."""
    fixed = {g.name: g.choices[1:2] for g in space.genes if g.group == EXITS}
    margin = {SCORE: (MARGIN,)}
    return space.without(BRANCHES).only({**fixed, **margin}).with_thresholds(_EDANAS_THRESHOLDS)


METHODS: dict[str, Method] = {
    # AEBNAS (arXiv 2512.10671): backbone, exits and the architecture of every branch, thresholds tuned for each
    # candidate. Its surrogate loop is not public; here it is that of NACHOS, which it extends.
    "aebnas": Method(_whole, "tuned", False, SurrogatePlanner),
    # NACHOS (arXiv 2401.13330): backbone and the presence of exits; learned confidences.
    "nachos": Method(_nachos, "shared", True, SurrogatePlanner, screened=False),
    # EDANAS (Gambella and Roveri, 2023): backbone and thresholds as genes, positions fixed.
    "edanas": Method(_edanas, "genes", False, SurrogatePlanner, screened=False),
    # NSGA-II (Deb et al. 2002), TPE (Bergstra et al. 2011; several objectives: arXiv 2001.02492), chance.
    "nsga2": Method(_whole, "tuned", False, _with_sampler("nsga2")),
    "tpe": Method(_whole, "tuned", False, _with_sampler("tpe")),
    "random": Method(_whole, "tuned", False, _with_sampler("random")),
}


def find_method(name: str, branches: str = "searched", thresholds: str = "tuned") -> Method:
    """A method by name; with branches `fixed` or thresholds `fixed` it is an arm of the ablation.

    Raises:
        UsageError: there is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"unknown algorithm {name!r}", f"Known algorithms: {', '.join(METHODS)}.")
    method = METHODS[name]
    if branches == "fixed" and method.space is _whole:
        method = replace(method, space=lambda space: space.without(BRANCHES))
    if thresholds == "fixed" and method.thresholds == "tuned":
        method = replace(method, thresholds="fixed")
    return method
