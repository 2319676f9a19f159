"""Predictors of a candidate's figures from its genes, the choice between them, and NSGA-II on what they say.

This is the loop of MSuNAS, as CNAS, EDANAS and NACHOS run it: predictors are fitted to everything evaluated so far, the
best of several kinds is taken for each figure, a genetic algorithm runs on it, and a few candidates that fill the gaps
of the front are evaluated.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eetool.search.methods.pareto import crowding_distances, pareto_ranks
from eetool.search.space.space import Genome, Space, genome_key

Predict = Callable[[np.ndarray], np.ndarray]  # features (n, d) to values (n,)
Fit = Callable[[np.ndarray, np.ndarray, int], Predict]

_FOLDS, _TREES, _HIDDEN, _ITERATIONS = 5, 50, (32, 32), 100
_POPULATION, _GENERATIONS, _CROSSOVER = 40, 20, 0.9
_PENALTY = 1e10
_RIDGE = 1e-6


def genome_features(space: Space, genomes: Sequence[Genome]) -> np.ndarray:
    """(n, d): of every numeric gene its choice in (0, 1], of every other one column per choice; 0 where it is idle."""
    columns = []
    for gene in space.genes:
        at = np.array([gene.choices.index(g[gene.name]) if gene.name in g else -1 for g in genomes])
        if all(isinstance(choice, str) for choice in gene.choices):
            columns += [(at == i).astype(float) for i in range(len(gene.choices))]
        else:
            columns.append((at + 1) / len(gene.choices))
    return np.stack(columns, axis=1) if columns else np.zeros((len(genomes), 1))


def fit_rbf(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    """Radial basis functions with a cubic kernel and a linear tail."""
    from scipy.spatial.distance import cdist

    def tail(points: np.ndarray) -> np.ndarray:
        return np.hstack([np.ones((len(points), 1)), points])

    n, k = len(x), x.shape[1] + 1
    system = np.zeros((n + k, n + k))
    system[:n, :n] = cdist(x, x) ** 3 + _RIDGE * np.eye(n)
    system[:n, n:], system[n:, :n] = tail(x), tail(x).T
    weights = np.linalg.lstsq(system, np.append(y, np.zeros(k)), rcond=1e-10)[0]
    return lambda points: np.hstack([cdist(points, x) ** 3, tail(points)]) @ weights


def fit_trees(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    """An ensemble of regression trees (CART), each on a bootstrap sample."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(_TREES, max_features=0.5, random_state=seed, n_jobs=1).fit(x, y)
    return lambda points: np.asarray(model.predict(points))


def fit_mlp(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    """A network of two hidden layers."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    mean, scale = float(y.mean()), float(y.std()) or 1.0
    model = MLPRegressor(
        hidden_layer_sizes=_HIDDEN, solver="lbfgs", alpha=1e-2, max_iter=_ITERATIONS, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, (y - mean) / scale)
    return lambda points: np.asarray(model.predict(points)) * scale + mean


KINDS: dict[str, Fit] = {"rbf": fit_rbf, "trees": fit_trees, "mlp": fit_mlp}


@dataclass(frozen=True)
class Surrogate:
    """The predictor that was chosen for one figure; `score` is its mean − deviation of Kendall's τ over folds."""

    kind: str
    score: float
    predict: Predict


def choose_surrogate(x: np.ndarray, y: np.ndarray, seed: int) -> Surrogate:
    """Adaptive switching: the kind whose rank correlation on left-out folds is best, fitted to everything (MSuNAS,
    arXiv 2007.10396). Different from there: 5 folds and 50 trees, so that choosing takes a second.
    """
    folds = np.random.default_rng(seed).permutation(len(x)) % min(_FOLDS, len(x))
    best: tuple[float, str] | None = None
    for kind, fit in KINDS.items():
        found = [_correlation(fit(x[folds != f], y[folds != f], seed), x, y, folds == f) for f in np.unique(folds)]
        score = float(np.mean(found) - np.std(found))
        if best is None or score > best[0]:
            best = score, kind
    assert best is not None
    return Surrogate(best[1], best[0], KINDS[best[1]](x, y, seed))


def _correlation(predict: Predict, x: np.ndarray, y: np.ndarray, held: np.ndarray) -> float:
    from scipy.stats import kendalltau

    if held.sum() < 2:
        return 0.0
    found: Any = kendalltau(predict(x[held]), y[held]).statistic
    return 0.0 if np.isnan(found) else float(found)


def penalised(cost: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The second objective with constraints in it, as NACHOS has it: φ · cost + (1 − φ) · penalty · excess, with φ the
    share of the population that keeps to all limits. While hardly anybody does it is the excess that counts.
    """
    share = float((excess <= 0).mean())
    second: np.ndarray = share * cost + (1 - share) * _PENALTY * np.maximum(excess, 0)
    return second


def evolve(
    space: Space,
    start: Sequence[Genome],
    objectives: Callable[[Sequence[Genome]], tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
    excess: Callable[[Sequence[Genome]], np.ndarray],
) -> list[Genome]:
    """NSGA-II (Deb et al. 2002) over genomes: two-point crossover, every gene redrawn with probability 1 / genes.

    Args:
        start: the first population, filled up with random genomes.
        objectives: two values (n,), (n,) of n genomes, both to be small.
        excess: by how much they exceed limits (n,).

    Returns:
        The last population, the best first.
    """
    population = [space.vector(genome) for genome in start][:_POPULATION]
    population += [space.vector(space.sample(rng)) for _ in range(_POPULATION - len(population))]
    for _ in range(_GENERATIONS):
        children = []
        for _ in range(_POPULATION // 2):
            first, second = (population[min(rng.integers(0, _POPULATION, 2))] for _ in range(2))  # tournament
            children += [_mutated(child, space, rng) for child in _crossed(first, second, rng)]
        pool = _distinct(space, [*population, *children])
        genomes = [space.genome(vector) for vector in pool]
        error, cost = objectives(genomes)
        points = np.stack([error, penalised(cost, excess(genomes))], axis=1)
        population = [pool[i] for i in _survivors(points)[:_POPULATION]]
        while len(population) < _POPULATION:  # a space so small that everything is in the pool
            population.append(space.vector(space.sample(rng)))
    return [space.genome(vector) for vector in population]


def _crossed(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.sort(rng.integers(0, len(a) + 1, 2))
    inside = (np.arange(len(a)) >= low) & (np.arange(len(a)) < high)
    if rng.random() >= _CROSSOVER:
        inside[:] = False
    return np.where(inside, b, a), np.where(inside, a, b)


def _mutated(vector: np.ndarray, space: Space, rng: np.random.Generator) -> np.ndarray:
    changes = rng.random(len(vector)) < 1 / len(vector)
    return np.where(changes, rng.integers(0, space.sizes), vector)


def _distinct(space: Space, vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    found = {genome_key(space.genome(vector)): vector for vector in reversed(vectors)}
    return list(reversed(found.values()))


def _survivors(points: np.ndarray) -> np.ndarray:
    """Indices of points (n, 2), those of the lower rank first, and among these those in emptier places."""
    rank = pareto_ranks(points)
    spread = np.zeros(len(points))
    for r in np.unique(rank):
        spread[rank == r] = crowding_distances(points[rank == r])
    return np.lexsort((np.arange(len(points)), -spread, rank))
