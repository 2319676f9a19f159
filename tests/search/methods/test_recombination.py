"""Recombination of trained exits: which exits genomes share, and which networks are made of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.search.methods.local_search import LocalPlanner
from eetool.search.methods.planners import ObjectiveValues
from eetool.search.methods.recombination import Recombination
from eetool.search.space.space import EXITS, GATE, Gene, Genome, Space, SpaceBackbone, genome_key, make_space

PLACES = 4


def space() -> Space:
    backbone = Gene("width", (16, 32))
    sites = tuple((f"stage.{i}",) for i in range(PLACES))
    return make_space("two", [backbone], lambda g: SpaceBackbone(f"net{g['width']}", sites), (1,) * PLACES)


def drawn(count: int, seed: int) -> list[Genome]:
    rng, found = np.random.default_rng(seed), space()
    return [found.sample(rng) for _ in range(count)]


def test_exits_are_told_apart_by_backbone_place_and_branch() -> None:
    found, parts = space(), Recombination(space())
    one = {"width": 16, "exit1.position": 1, "exit1.depth": 1, "exit1.layer0": "max2", "score": "margin"}
    genome = found.express(one)
    (exit_,) = parts.exits(genome)
    assert parts.exits(found.express({**one, "score": "entropy"})) == {exit_}
    for changed in ({"width": 32}, {"exit1.layer0": "avg2"}):
        assert parts.exits(found.express({**one, **changed})).isdisjoint({exit_})
    moved = {name.replace("exit1", "exit2"): value for name, value in one.items()}
    assert parts.exits(found.express(moved)).isdisjoint({exit_})
    assert parts.exits(found.smallest()) == frozenset()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**20))
def test_neighbours_have_known_exits_alone(seed: int) -> None:
    parts, known = Recombination(space()), drawn(8, seed)
    exits = frozenset().union(*(parts.exits(genome) for genome in known))
    for genome in parts.neighbours(known, known, 40, np.random.default_rng(seed)):
        assert space().parse(genome) == genome
        assert parts.exits(genome) <= exits
        assert parts.backbone(genome) in {parts.backbone(one) for one in known}


def test_without_exits_drops_those_that_are_not_fixed() -> None:
    found, parts = space(), Recombination(space())
    genome = found.largest()
    assert len(parts.exits(genome)) == PLACES
    left = parts.without_exits(genome, (0, 2))
    assert parts.exits(left) < parts.exits(genome)
    assert [left[f"exit{i}.position"] for i in range(PLACES)] == [0, 1, 0, 1]
    assert parts.without_exits(genome, ()) == genome
    fixed = replace(found, genes=tuple(replace(g, choices=(1,)) if g.group == EXITS else g for g in found.genes))
    assert Recombination(fixed).without_exits(fixed.largest(), (0, 2)) == fixed.largest()


class Additive:
    """Figures in which every exit counts for itself, so that the best network joins the best exits."""

    def __init__(self) -> None:
        self.calls: list[Genome] = []

    def evaluate(self, genome: Genome) -> ObjectiveValues:
        self.calls.append(genome)
        worth = [int(genome_key({"x": str(key)})[:6], 16) / 2**24 for key in Recombination(space()).exits(genome)]
        return ObjectiveValues(genome, 1.0 - sum(worth) / PLACES, 1.0 + len(worth), 0.0)


def searched(trials: int, trained: bool) -> tuple[list[ObjectiveValues], LocalPlanner, Additive]:
    planner, own = LocalPlanner(space(), 3, trials, lambda genome: True), Additive()
    planner.trained = own if trained else None
    archive: list[ObjectiveValues] = []
    while len(archive) < trials:
        archive += [Additive().evaluate(genome) for genome in planner.plan(archive)[: trials - len(archive)]]
    return archive, planner, own


def test_candidates_bring_exits_that_were_not_trained() -> None:
    archive, _, own = searched(40, trained=True)
    parts = Recombination(space())
    exits = [parts.exits(one.genome) for one in archive]
    fresh = 0
    for start in range(8, 40, 8):  # of one generation two may bring the same
        before = frozenset().union(*exits[:start])
        fresh += sum(bool(has - before) for has in exits[start : start + 8])
    assert fresh >= 30  # of 32; where no neighbour has new ones, a random network is taken
    assert own.calls


def test_recombined_networks_are_new_and_the_same_after_an_interruption() -> None:
    archive, planner, own = searched(24, trained=True)
    found = planner.recombined(archive)
    keys = [genome_key(one.genome) for one in (*archive, *found)]
    assert len(set(keys)) == len(keys)
    again, fresh = LocalPlanner(space(), 3, 24, lambda genome: True), Additive()
    again.trained = fresh
    assert [one.genome for one in again.recombined(archive)] == [one.genome for one in found]
    assert [one.genome for one in found] == own.calls == fresh.calls


def test_recombination_finds_better_networks_of_the_same_exits() -> None:
    def best(found: Sequence[ObjectiveValues]) -> float:
        return min(one.error for one in found)

    archive, planner, _ = searched(24, trained=True)
    assert best([*archive, *planner.recombined(archive)]) < best(archive)


def test_planner_without_trained_exits_recombines_nothing() -> None:
    archive, planner, own = searched(16, trained=False)
    assert planner.recombined(archive) == []
    assert own.calls == []


@pytest.mark.parametrize("group", [EXITS, GATE])
def test_space_has_the_groups_that_are_recombined(group: str) -> None:
    assert [gene for gene in space().genes if gene.group == group]
