"""Predictors of candidates from the accuracy and cost of their exits, instead of from their genes at once.

One evaluation tells the accuracy of several exits. An exit depends on the backbone and on its own genes alone, so all
exits of all candidates are examples for one model of an exit. A second model predicts what the tuned thresholds make of
a candidate's exits: error and cost relative to full depth.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eetool.search.methods.planners import ObjectiveValues
from eetool.search.methods.surrogates import genome_features
from eetool.search.space.space import BACKBONE, EXITS, GATE, Gene, Genome, Space

_TREES = 50
_SMALLEST = 1e-12  # cost


class ExitSurrogate:
    """Predictions of error and cost, fitted to candidates whose exits are known.

    Args:
        space: space of the genomes.
        archive: evaluated candidates, each with accuracies and costs of its exits.
        seed: of the trees.
    """

    def __init__(self, space: Space, archive: Sequence[ObjectiveValues], seed: int) -> None:
        self._space = space
        self._places = sum(gene.group == EXITS for gene in space.genes)
        self._backbone, self._gate = (
            replace(space, genes=tuple(replace(g, when=()) for g in space.genes if g.group == group))
            for group in (BACKBONE, GATE)
        )
        self._exit = replace(space, genes=_genes_of_an_exit(space, self._places))
        genomes = [one.genome for one in archive]
        rows, _ = self._exit_rows(genomes)
        figures = np.array(
            [
                pair
                for one in archive
                for pair in zip(one.exit_accuracies, np.log(_positive(one.exit_costs)), strict=True)
            ]
        )
        self._of_exit = _trees(seed).fit(rows, figures)
        full = np.array([[1 - one.exit_accuracies[-1], np.log(_positive(one.exit_costs))[-1]] for one in archive])
        reached = np.array([[one.error, np.log(_positive((one.cost,)))[0]] for one in archive])
        self._of_candidate = _trees(seed).fit(self._candidate_rows(genomes, figures), reached - full)

    def predict(self, genomes: Sequence[Genome]) -> tuple[np.ndarray, np.ndarray]:
        """Return predicted errors and costs (n,) of n genomes."""
        rows, last = self._exit_rows(genomes)
        figures = self._of_exit.predict(rows)
        change = self._of_candidate.predict(self._candidate_rows(genomes, figures))
        error, cost = 1 - figures[last, 0] + change[:, 0], np.exp(figures[last, 1] + change[:, 1])
        return error, cost

    def _exit_rows(self, genomes: Sequence[Genome]) -> tuple[np.ndarray, np.ndarray]:
        """Return features of all exits of all genomes, shallow first, and the rows of the final exits (n,)."""
        owners, places, own = [], [], []
        for index, genome in enumerate(genomes):
            for place in [*_present(genome, self._places), self._places]:
                owners.append(index)
                places.append(place)
                prefix = f"exit{place}."
                own.append({f"exit0.{n.removeprefix(prefix)}": v for n, v in genome.items() if n.startswith(prefix)})
        backbone = genome_features(self._backbone, genomes)[owners]
        rows = np.hstack([backbone, np.eye(self._places + 1)[places], genome_features(self._exit, own)])
        return rows, np.flatnonzero(np.array(places) == self._places)

    def _candidate_rows(self, genomes: Sequence[Genome], figures: np.ndarray) -> np.ndarray:
        """Return features of genomes: by place presence, accuracy below full depth, and cost relative to it."""
        rows, at = np.zeros((len(genomes), 3 * self._places + 2)), 0
        for row, genome in zip(rows, genomes, strict=True):
            present = _present(genome, self._places)
            own, full = figures[at : at + len(present)], figures[at + len(present)]
            for place, exit_ in zip(present, own, strict=True):
                row[3 * place : 3 * place + 3] = 1, full[0] - exit_[0], exit_[1] - full[1]
            row[-2:] = full
            at += len(present) + 1
        return np.hstack([rows, genome_features(self._gate, genomes)])


def knows_exits(archive: Sequence[ObjectiveValues]) -> bool:
    """Return whether accuracies and costs of all exits are known; they are not in studies of older versions."""
    return all(one.exit_accuracies and len(one.exit_accuracies) == len(one.exit_costs) for one in archive)


def _present(genome: Genome, places: int) -> list[int]:
    return [place for place in range(places) if genome.get(f"exit{place}.position", 0)]


def _genes_of_an_exit(space: Space, places: int) -> tuple[Gene, ...]:
    """Return the genes of one exit, with the choices that they have at any place."""
    choices: dict[str, dict[Any, None]] = {}
    for place in range(places):
        prefix = f"exit{place}."
        for gene in space.genes:
            if gene.name.startswith(prefix):
                own = choices.setdefault(f"exit0.{gene.name.removeprefix(prefix)}", {})
                own.update(dict.fromkeys(gene.choices))
    return tuple(Gene(name, tuple(values)) for name, values in choices.items())


def _positive(costs: Sequence[float]) -> np.ndarray:
    positive: np.ndarray = np.maximum(np.array(costs, dtype=float), _SMALLEST)
    return positive


def _trees(seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(_TREES, max_features=0.5, random_state=seed, n_jobs=1)
