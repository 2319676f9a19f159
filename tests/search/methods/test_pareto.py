"""Fronts, hypervolumes and knees, compared with their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eetool.search.methods import pareto

clouds = arrays.arrays(float, st.tuples(st.integers(1, 25), st.just(2)), elements=st.integers(0, 9).map(float))


def dominated(points: np.ndarray, i: int) -> bool:
    return any((p <= points[i]).all() and (p < points[i]).any() for p in points)


@given(clouds)
def test_pareto_front_holds_all_non_dominated_points(points: np.ndarray) -> None:
    front = pareto.pareto_front(points)
    assert not any(dominated(points, i) for i in front)
    free = {tuple(points[i]) for i in range(len(points)) if not dominated(points, i)}
    assert {tuple(p) for p in points[front]} == free
    assert len(front) == len(free)
    assert (np.diff(points[front, 1]) > 0).all()


@given(clouds)
def test_pareto_ranks_peel_fronts_off(points: np.ndarray) -> None:
    rank = pareto.pareto_ranks(points)
    left = points
    for r in range(rank.max() + 1):
        assert {tuple(p) for p in points[rank == r]} == {tuple(p) for p in left[pareto.pareto_front(left)]}
        left = points[rank > r]


@given(clouds)
def test_hypervolume_equals_count_of_dominated_cells(points: np.ndarray) -> None:
    cells = sum(bool(((points[:, 0] <= x) & (points[:, 1] <= y)).any()) for x in range(8) for y in range(8))
    assert pareto.hypervolume(points, (8.0, 8.0)) == pytest.approx(cells)


def test_knee_point_returns_index_of_bend() -> None:
    assert pareto.knee_point(np.array([[0.9, 1.0], [0.3, 2.0], [0.2, 8.0], [0.1, 9.0]])) == 1
    assert pareto.knee_point(np.array([[0.5, 3.0]])) == 0


def test_crowding_distances_are_largest_at_ends_and_gaps() -> None:
    distance = pareto.crowding_distances(np.array([[4.0, 0.0], [3.0, 1.0], [2.9, 1.1], [0.0, 4.0]]))
    assert np.isinf(distance[[0, 3]]).all()
    assert distance[2] > distance[1]
