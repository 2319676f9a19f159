"""Planners: reproducible plans, no candidate twice, and better than random search."""

from collections.abc import Callable

import numpy as np
import pytest

from eetool.errors import UsageError
from eetool.search.methods import pareto
from eetool.search.methods.methods import METHODS, find_method
from eetool.search.methods.nsga2 import evolve, penalised
from eetool.search.methods.planners import ObjectiveValues, Planner
from eetool.search.methods.surrogates import KINDS, choose_surrogate, genome_features
from eetool.search.space.builtin_spaces import mobilenetv3_cifar, resnet
from eetool.search.space.space import Genome, Space, genome_key
from tests.helpers import small_spaces

ALL = sorted(METHODS)


def landscape(space: Space) -> Callable[[Genome], ObjectiveValues]:
    """Return a function whose costs grow with every choice and whose errors shrink with some genes."""
    weights = np.random.default_rng(1).uniform(0.2, 1, len(space.genes))
    useful = np.random.default_rng(2).random(len(space.genes)) < 0.3

    def judge(genome: Genome) -> ObjectiveValues:
        place = space.vector(genome) / np.maximum(space.sizes - 1, 1)
        cost = 1 + float(weights @ place)
        error = 0.9 - 0.8 * float(place[useful] @ weights[useful]) / max(float(weights[useful].sum()), 1e-9)
        return ObjectiveValues(genome, error, cost, max(0.0, cost / 6 - 1))

    return judge


def anything(genome: Genome) -> bool:
    return True


def searched(planner: Planner, judge: Callable[[Genome], ObjectiveValues], trials: int) -> list[ObjectiveValues]:
    archive: list[ObjectiveValues] = []
    while len(archive) < trials and (plan := planner.plan(archive)[: trials - len(archive)]):
        archive += [judge(genome) for genome in plan]
    return archive


@pytest.mark.parametrize("name", ["aebnas", "local", "nsga2", "random", "tpe"])  # the others have that of aebnas
def test_plan_same_seed_and_archive_returns_same_genomes(name: str) -> None:
    space = METHODS[name].space(small_spaces.mobile())
    judge = landscape(space)
    whole = searched(METHODS[name].planner(space, 3, 30, anything), judge, 30)
    assert len({genome_key(outcome.genome) for outcome in whole}) == len(whole)
    for cut in (20,):  # another process continues in the middle
        planner = METHODS[name].planner(space, 3, 30, anything)
        archive = whole[:cut]
        while len(archive) < len(whole):
            archive = archive + [judge(genome) for genome in planner.plan(archive)]
        assert archive[: len(whole)] == whole
    assert METHODS[name].planner(space, 4, 30, anything).plan([]) != [outcome.genome for outcome in whole[:17]]


@pytest.mark.parametrize("name", ALL)
def test_plan_exhausted_space_returns_nothing(name: str) -> None:
    space = METHODS[name].space(small_spaces.one())
    outcomes = searched(METHODS[name].planner(space, 0, 20, anything), landscape(space), 20)
    assert len(outcomes) == 1


@pytest.mark.parametrize("name", ["aebnas", "local", "nsga2", "random", "tpe"])
def test_plan_inadmissible_genomes_are_left_out(name: str) -> None:
    space = METHODS[name].space(small_spaces.mobile())
    planner = METHODS[name].planner(space, 3, 30, lambda genome: genome["exit0.position"] == 1)
    outcomes = searched(planner, landscape(space), 30)
    assert len(outcomes) == 30
    assert all(outcome.genome["exit0.position"] == 1 for outcome in outcomes)


def test_plan_few_admissible_genomes_finds_them() -> None:
    space = small_spaces.mobile()
    few = {"resolution": 12, "depth": 1, "kernel": 3, "expansion": 2, "exit0.depth": 3}  # one in 320
    planner = METHODS["aebnas"].planner(space, 0, 9, lambda genome: few.items() <= genome.items())
    assert len(planner.plan([])) == 5


def test_plan_first_generation_has_half_branches_by_rule() -> None:
    space = mobilenetv3_cifar()
    *begun, _ = METHODS["aebnas"].planner(space, 0, 72, anything).plan([])
    branches = [space.network(genome).branches for genome in begun[2:]]  # the smallest and the largest come first
    ruled = [all(branch is None for branch in one) for one in branches if one]
    assert 0.4 < sum(ruled) / len(ruled) < 0.7


def test_plan_largest_network_that_is_not_admissible_with_its_exits_has_none() -> None:
    space = mobilenetv3_cifar()

    def few_exits(genome: Genome) -> bool:
        return len(space.network(genome).taps) <= 4

    smallest, largest, *_ = METHODS["aebnas"].planner(space, 0, 20, few_exits).plan([])
    assert smallest == space.smallest()
    assert largest == space.without_exits(space.largest())
    assert space.network(largest).backbone == space.network(space.largest()).backbone


@pytest.mark.parametrize("name", ["aebnas", "local", "nsga2", "random", "tpe"])
def test_plan_first_generation_has_few_exits_of_many_places(name: str) -> None:
    space = mobilenetv3_cifar()
    exits = [len(space.network(genome).taps) for genome in METHODS[name].planner(space, 0, 60, anything).plan([])]
    assert 1 < sum(exits) / len(exits) < 4
    places = {tap for g in METHODS[name].planner(space, 0, 60, anything).plan([]) for tap in space.network(g).taps}
    assert len(places) >= 5


def test_genome_features_absent_block_has_features_of_an_absent_exit() -> None:
    space = resnet()
    exits = [gene.group == "exits" for gene in space.genes]  # one column each, as all genes before them
    shallow, deep = genome_features(space, [space.smallest(), space.without_exits(space.largest())])[:, : len(exits)]
    assert np.array_equal(shallow[exits], deep[exits])


def test_plan_short_first_generation_is_followed_by_full_one() -> None:
    space, admitted = small_spaces.mobile(), iter([True] * 4)
    planner = METHODS["aebnas"].planner(space, 0, 30, lambda genome: next(admitted, False))
    begun = planner.plan([])
    assert len(begun) == 4
    admitted = iter([True] * 100)
    assert len(planner.plan([landscape(space)(genome) for genome in begun])) == 8


def test_surrogate_planner_beats_random_search() -> None:
    space = resnet()
    judge = landscape(space)
    area = {}
    for name in ("aebnas", "random"):
        outcomes = searched(METHODS[name].planner(space, 0, 60, anything), judge, 60)
        kept = np.array([[o.error, o.cost] for o in outcomes if o.excess == 0])
        area[name] = pareto.hypervolume(kept, (1.0, 6.0))
    assert area["aebnas"] > 1.02 * area["random"]


def test_penalised_no_feasible_point_orders_by_excess() -> None:
    cost, excess = np.array([3.0, 2.0, 1.0]), np.array([0.1, 0.2, 0.3])
    assert penalised(cost, excess).argmin() == 0  # no point is feasible: the least excess
    assert penalised(cost, np.zeros(3)).argmin() == 2  # all points are: the least cost
    mixed = penalised(cost, np.array([0.0, 0.0, 0.3]))
    assert mixed.argmin() == 1


def test_choose_surrogate_linear_function_avoids_trees() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 5))
    y = x @ np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    chosen = choose_surrogate(x, y, 0)
    assert chosen.kind in ("rbf", "mlp")  # trees cannot represent a linear function
    assert chosen.score > 0.9
    new = rng.random((20, 5))
    assert np.abs(chosen.predict(new) - new @ np.array([1.0, -2.0, 0.5, 0.0, 3.0])).max() < 0.2
    steps = (x[:, 0] > 0.5).astype(float) + 2 * (x[:, 3] > 0.3)
    for kind, fit in KINDS.items():
        assert np.isfinite(fit(x, steps, 0)(new)).all(), kind


def test_genome_features_inactive_genes_differ_from_first_choice() -> None:
    space = small_spaces.mobile()
    shallow, deep = space.smallest(), space.largest()
    table = genome_features(space, [shallow, deep])
    assert table.shape[0] == 2
    assert (table[0] != table[1]).any()
    assert table.min() == 0
    assert table.max() == 1


def test_evolve_two_equal_objectives_reaches_minimum() -> None:
    space = small_spaces.mobile()

    def objectives(genomes: list[Genome]) -> tuple[np.ndarray, np.ndarray]:
        small = np.array([space.vector(genome).sum() for genome in genomes], dtype=float)
        return small, small

    best = evolve(space, [], objectives, np.random.default_rng(0), lambda genomes: np.zeros(len(genomes)))  # type: ignore[arg-type]
    assert space.vector(best[0]).sum() == 0


def test_find_method_unknown_name_raises_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown algorithm"):
        find_method("magic")
    fixed = find_method("aebnas", branches="fixed", thresholds="fixed")
    assert fixed.thresholds == "fixed"
    assert not any(gene.group == "branches" for gene in fixed.space(small_spaces.mobile()).genes)
