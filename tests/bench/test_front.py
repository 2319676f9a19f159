"""The front of latency and accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.bench.comparison import Comparison, MeasuredWay
from eetool.bench.comparison_text import compared, front_text
from eetool.bench.front import estimated_front, front_marks
from tests.helpers.measured_ways import NOISY, net, way


@pytest.mark.parametrize(
    ("other", "mark"),
    [
        (net("b", 1970, 1.2), True),  # slower
        (net("b", 1900, 0.8), True),  # less accurate
        (net("b", 1999, 0.8), False),  # surely better
        (net("b", 1950, 0.8), False),  # the same predictions, faster
        (net("b", 1952, 0.8), None),  # faster, and its two more right answers may be chance
        (net("b", 1999, 0.99, NOISY), None),  # more accurate, and perhaps slower
    ],
)
def test_front_marks_are_off_only_where_another_is_surely_no_worse(other: MeasuredWay, mark: bool | None) -> None:
    assert front_marks([net("a", 1950, 1.0), other])["a"] is mark


points = st.lists(st.tuples(st.integers(0, 300), st.floats(0.1, 10)), min_size=1, max_size=6)


@settings(max_examples=40)
@given(points)
def test_front_marks_agree_with_the_figures(figures: list[tuple[int, float]]) -> None:
    ways = [net(f"n{i}", right, ms, n=300) for i, (right, ms) in enumerate(figures)]
    marks = front_marks(ways)
    assert {w.name for w in estimated_front(ways)} == {name for name, mark in marks.items() if mark}
    assert any(marks.values())
    best = max(ways, key=lambda w: (w.right.sum(), -w.latency.mean))
    assert marks[best.name]


def test_front_text_goes_from_accurate_to_fast() -> None:
    ways = [net("fast", 1900, 0.4), net("slow", 1960, 1.0), net("off", 1800, 0.9), net("middle", 1955, 0.8)]
    text = front_text(ways)
    assert text.startswith(
        "The front, most accurate first: slow (98.00 %, 1 ms); middle is 20 % faster (20 to 20 %) than"
    )
    assert "middle is 20 % faster (20 to 20 %) than slow, at -0.25 points of accuracy (-0.5" in text
    assert "; fast is 50 % faster (50 to 50 %) still, at -2.75 points" in text
    assert "off" not in text
    assert front_text(ways[:1]) == "The front is fast (95.00 %, 0.4 ms) alone."
    many = [net(f"n{i}", 1000 + i, 1 + i) for i in range(9)]
    assert "; and 4 more." in front_text(many)


def test_compared_says_slower_and_as_fast() -> None:
    a, b = way("a", 1950, 1.3), net("b", 1950, 1.0)
    assert compared(Comparison(a, b)).startswith(
        "a is 30 % slower (30 to 30 %) than b, at +0.00 points of accuracy (-0.1"
    )
    noisy = way("a", 1950, 1.0, NOISY)
    assert "a is not surely faster or slower than b (" in compared(Comparison(noisy, b))
    assert np.isclose(Comparison(noisy, noisy).ratio, 1)
