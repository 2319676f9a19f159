"""Predictors of a candidate's figures from its genes, and the choice between them.

They belong to the loop of MSuNAS, as CNAS, EDANAS and NACHOS use it. Predictors are fitted to all evaluations so far,
and the best of several kinds is taken for each figure.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eetool.search.space.space import EXITS, Genome, Space

Predict = Callable[[np.ndarray], np.ndarray]  # features (n, d) to values (n,)
Fit = Callable[[np.ndarray, np.ndarray, int], Predict]

_FOLDS, _TREES, _HIDDEN, _ITERATIONS = 5, 50, (32, 32), 100
_RIDGE = 1e-6


def genome_features(space: Space, genomes: Sequence[Genome]) -> np.ndarray:
    """Return features (n, d) of n genomes.

    A numeric gene is one column with its choice in (0, 1]. Any other gene is one column per choice. Columns of an
    inactive gene are 0, except that an exit of a block that is not there counts as absent.
    """
    columns = []
    for gene in space.genes:
        inactive = 0 if gene.group == EXITS else -1
        at = np.array([gene.choices.index(g[gene.name]) if gene.name in g else inactive for g in genomes])
        if all(isinstance(choice, str) for choice in gene.choices):
            columns += [(at == i).astype(float) for i in range(len(gene.choices))]
        else:
            columns.append((at + 1) / len(gene.choices))
    return np.stack(columns, axis=1) if columns else np.zeros((len(genomes), 1))


def fit_rbf(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    """Fit radial basis functions with a cubic kernel and a linear tail.

    Columns of one-hot features add up to 1, so the system has no unique solution; least squares takes the smallest.
    """
    from scipy.spatial.distance import cdist

    def linear_tail(points: np.ndarray) -> np.ndarray:
        return np.hstack([np.ones((len(points), 1)), points])

    n, k = len(x), x.shape[1] + 1
    system = np.zeros((n + k, n + k))
    system[:n, :n] = cdist(x, x) ** 3 + _RIDGE * np.eye(n)
    system[:n, n:], system[n:, :n] = linear_tail(x), linear_tail(x).T
    weights = np.linalg.lstsq(system, np.append(y, np.zeros(k)), rcond=1e-10)[0]
    return lambda points: np.hstack([cdist(points, x) ** 3, linear_tail(points)]) @ weights


def fit_trees(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    """Fit an ensemble of regression trees (CART), each on a bootstrap sample."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(_TREES, max_features=0.5, random_state=seed, n_jobs=1).fit(x, y)
    return lambda points: np.asarray(model.predict(points))


def fit_mlp(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    """Fit a multilayer perceptron with two hidden layers."""
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
    """The predictor chosen for one figure; `score` is mean minus standard deviation of Kendall's τ over folds."""

    kind: str
    score: float
    predict: Predict


def choose_surrogate(x: np.ndarray, y: np.ndarray, seed: int) -> Surrogate:
    """Return the kind with the best rank correlation on left-out folds, fitted to all points.

    This is the adaptive switching of MSuNAS (arXiv 2007.10396), but with 5 folds and 50 trees, so that it takes a
    second.
    """
    folds = np.random.default_rng(seed).permutation(len(x)) % min(_FOLDS, len(x))
    best: tuple[float, str] | None = None
    for kind, fit in KINDS.items():
        scores = [_correlation(fit(x[folds != f], y[folds != f], seed), x, y, folds == f) for f in np.unique(folds)]
        score = float(np.mean(scores) - np.std(scores))
        if best is None or score > best[0]:
            best = score, kind
    assert best is not None
    return Surrogate(best[1], best[0], KINDS[best[1]](x, y, seed))


def _correlation(predict: Predict, x: np.ndarray, y: np.ndarray, held: np.ndarray) -> float:
    from scipy.stats import kendalltau

    if held.sum() < 2:
        return 0.0
    correlation: Any = kendalltau(predict(x[held]), y[held]).statistic
    return 0.0 if np.isnan(correlation) else float(correlation)
