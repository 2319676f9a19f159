"""Recombination of exits that are trained already: other networks of the same backbone, which cost no training.

Branches of a frozen backbone do not depend on each other, so any choice of trained ones is evaluated in milliseconds.
A search then trains each branch once, and what it has trained is used in all combinations.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from eetool.search.methods.planners import ObjectiveValues
from eetool.search.space.space import BACKBONE, EXITS, GATE, Genome, Space, Value

ExitKey = tuple[
    tuple[Value, ...], str, tuple[tuple[str, Value], ...]
]  # genes of the backbone, place, genes of the exit
_MOST_MOVES = 3


class TrainedExits(Protocol):
    """Evaluation of networks whose exits were trained for others."""

    def evaluate(self, genome: Genome) -> ObjectiveValues:
        """Return the figures of a genome; only what an interruption lost is trained again."""


class Recombination:
    """Exits of genomes, by their genes."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._backbone = [gene.name for gene in space.genes if gene.group == BACKBONE]
        self._gates: Mapping[str, Sequence[Value]] = {g.name: g.choices for g in space.genes if g.group == GATE}
        self._optional = {g.name for g in space.genes if g.group == EXITS and 0 in g.choices}

    def exits(self, genome: Genome) -> frozenset[ExitKey]:
        """Return the exits that a genome has."""
        return frozenset(self._ordered_exits(genome))

    def _ordered_exits(self, genome: Genome) -> list[ExitKey]:
        backbone = self.backbone(genome)
        return [
            (backbone, place, tuple((name, genome[name]) for name in names if name in genome))
            for place, names in self._places.items()
            if genome.get(place)
        ]

    def backbone(self, genome: Genome) -> tuple[Value, ...]:
        """Return the genes of the backbone."""
        return tuple(genome[name] for name in self._backbone if name in genome)

    @cached_property
    def _places(self) -> dict[str, list[str]]:
        """Names of the genes of every exit, its position first, by the name of that."""
        places: dict[str, list[str]] = {}
        for gene in self.space.genes:
            if gene.group == EXITS:
                places[gene.name] = [gene.name]
        for gene in self.space.genes:
            owner = f"{gene.name.partition('.')[0]}.position"
            if owner in places and gene.name != owner:
                places[owner].append(gene.name)
        return places

    def without_exits(self, genome: Genome, which: Collection[int]) -> Genome:
        """Return the genome without the exits of these indices, from shallow to deep, where they are not fixed."""
        present = [place for place in self._places if genome.get(place)]
        absent = {present[i]: 0 for i in which if present[i] in self._optional}
        return self.space.express({**genome, **absent})

    def neighbours(
        self, parents: Sequence[Genome], known: Sequence[Genome], count: int, rng: np.random.Generator
    ) -> list[Genome]:
        """Return up to `count` genomes that differ from a parent in up to three exits, or in the gate.

        An exit is dropped, or taken from a known genome of the same backbone.
        """
        donors: dict[tuple[tuple[Value, ...], str], list[dict[str, Value]]] = defaultdict(list)
        for backbone, place, genes in dict.fromkeys(key for genome in known for key in self._ordered_exits(genome)):
            donors[backbone, place].append(dict(genes))
        return [self._neighbour(parents[i % len(parents)], donors, rng) for i in range(count)]

    def _neighbour(
        self,
        parent: Genome,
        donors: Mapping[tuple[tuple[Value, ...], str], Sequence[dict[str, Value]]],
        rng: np.random.Generator,
    ) -> Genome:
        values, backbone, places = dict(parent), self.backbone(parent), list(self._places)
        for _ in range(int(rng.integers(1, _MOST_MOVES + 1))):
            place = places[rng.integers(len(places))]
            found = donors.get((backbone, place), ())
            if found and not (values.get(place) and rng.random() < 0.5):
                values.update(found[int(rng.integers(len(found)))])
            elif place in self._optional:
                values[place] = 0
        for name, choices in self._gates.items():
            if rng.random() < 0.25:
                values[name] = choices[int(rng.integers(len(choices)))]
        return self.space.express(values)
