"""Kinds of axes: evidence, and views that merge and split axes."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.model.axis_kinds import FIXED, PRODUCT, REDUCTION, AxisKinds


def axes_of(kinds: AxisKinds, *sizes: int) -> list[int]:
    return [kinds.new(size) for size in sizes]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_reshape_merged_and_split_axes_are_the_same(sizes: list[int], data: st.DataObject) -> None:
    kinds = AxisKinds()
    axes = axes_of(kinds, *sizes)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sizes)), max_size=len(sizes))) | {0, len(sizes)})
    merged = [math.prod(sizes[a:b]) for a, b in itertools.pairwise(cuts)]
    viewed = kinds.reshape(axes, merged)
    assert [kinds.sizes[axis] for axis in viewed] == merged
    back = kinds.reshape(viewed, sizes)
    assert [b for b, size in zip(back, sizes, strict=True) if size > 1] == [a for a in axes if kinds.sizes[a] > 1]


def test_reshape_split_axis_is_whole_again_in_any_order() -> None:
    kinds = AxisKinds()
    batch, channels = axes_of(kinds, 2, 6)
    kinds.mark_channels(channels)
    batch, left, right = kinds.reshape([batch, channels], (2, 2, 3))
    assert kinds.channel_axis([left, right]) is None, "neither is all channels"
    for parts in ((left, right), (right, left)):
        assert kinds.channel_axis(kinds.reshape([batch, *parts], (2, 6))) == 1


@pytest.mark.parametrize("shape", [(6, 4), (0,), (5, 5)])
def test_reshape_to_unrelated_axes_gives_new_ones(shape: tuple[int, ...]) -> None:
    kinds = AxisKinds()
    axes = axes_of(kinds, 4, 6)
    kinds.mark_channels(axes[1])
    made = kinds.reshape(axes, shape)
    assert not set(made) & set(axes)
    assert kinds.channel_axis(made) is None


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (((0, 0), (0, 0)), None),
        (((FIXED, 0), (0, 0)), 0),
        (((FIXED, FIXED), (0, FIXED)), 0),
        (((PRODUCT, FIXED), (0, 0)), None),
        (((PRODUCT, 0), (FIXED, 0)), 1),
        (((PRODUCT, REDUCTION), (PRODUCT, 0)), 1),
        (((PRODUCT, 0), (PRODUCT, 0)), None),
        (((FIXED, FIXED), (FIXED, 0)), 1),
        (((FIXED, FIXED), (PRODUCT, 0)), None),
    ],
)
def test_channel_axis_strongest_evidence_without_contradiction_wins(
    evidence: tuple[tuple[int, int], ...], expected: int | None
) -> None:
    kinds = AxisKinds()
    axes = axes_of(kinds, *(8 for _ in evidence))
    for axis, (channels, positions) in zip(axes, evidence, strict=True):
        other = kinds.new(4)
        kinds.join(other, axis)
        kinds.mark_channels(other, channels)
        kinds.mark_positions(axis, positions)
    assert kinds.channel_axis(axes) == expected
