"""Pareto fronts of two objectives to minimise: membership, ranks, crowding, hypervolume and knee."""

from collections.abc import Sequence

import numpy as np


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Return indices of the non-dominated points (n, 2), sorted by the second objective; of equal points the first."""
    order = np.lexsort((np.arange(len(points)), points[:, 0], points[:, 1]))
    kept: list[int] = []
    for index in order:
        if not kept or points[index, 0] < points[kept[-1], 0]:
            kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def pareto_ranks(points: np.ndarray) -> np.ndarray:
    """Return int64 (n,): 0 for points (n, 2) on the front, 1 for the front of the rest, and so on."""
    ranks = np.full(len(points), -1, dtype=np.int64)
    left, rank = np.arange(len(points)), 0
    while len(left):
        not_better = points[left, None, :] >= points[None, left, :]  # (n, n, 2), of i against j
        worse = points[left, None, :] > points[None, left, :]
        dominated = np.any(not_better.all(2) & worse.any(2), axis=1)
        ranks[left[~dominated]] = rank
        left, rank = left[dominated], rank + 1
    return ranks


def crowding_distances(points: np.ndarray) -> np.ndarray:
    """Return crowding distances (n,) of points (n, 2) of one rank (NSGA-II, Deb et al. 2002); infinite at the ends."""
    distance = np.zeros(len(points))
    for axis in range(points.shape[1]):
        order = np.argsort(points[:, axis], kind="stable")
        values = points[order, axis]
        distance[order[[0, -1]]] = np.inf
        if len(points) > 2 and values[-1] > values[0]:
            distance[order[1:-1]] += (values[2:] - values[:-2]) / (values[-1] - values[0])
    return distance


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> float:
    """Return the area that the points (n, 2) dominate up to `reference`; points beyond it do not count."""
    inside = points[(points < np.asarray(reference)).all(1)]
    if not len(inside):
        return 0.0
    best = inside[pareto_front(inside)]  # rising in the second objective, falling in the first
    heights = np.diff(np.append(best[:, 1], reference[1]))
    return float(((reference[0] - best[:, 0]) * heights).sum())


def knee_point(points: np.ndarray) -> int:
    """Return the index of the point of a front (n, 2) furthest below the line between its ends, both scaled to 1."""
    low, high = points.min(0), points.max(0)
    span = np.where(high > low, high - low, 1.0)
    return int(np.argmin(((points - low) / span).sum(1)))
