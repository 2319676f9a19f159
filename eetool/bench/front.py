"""The Pareto front of latency and accuracy, in which intervals decide."""

from collections.abc import Sequence

from eetool.bench.comparison import Comparison, MeasuredWay


def front_marks(ways: Sequence[MeasuredWay]) -> dict[str, bool | None]:
    """Return for every way whether it is on the front.

    It is (True) where no other way is both at least as fast and at least as accurate by the measured figures. It is
    not (False) where another way surely is both. None is between: another way is both by the figures, though the
    intervals leave it open.
    """
    return {way.name: _mark(way, [other for other in ways if other is not way]) for way in ways}


def estimated_front(ways: Sequence[MeasuredWay]) -> list[MeasuredWay]:
    """Return the ways on the front by the measured figures, the most accurate and slowest first."""
    front = [way for way in ways if not any(_is_better(other, way) for other in ways)]
    return sorted(front, key=lambda way: -way.latency.mean)


def _mark(way: MeasuredWay, others: Sequence[MeasuredWay]) -> bool | None:
    better = [other for other in others if _is_better(other, way)]
    if not better:
        return True
    return False if any(_is_surely_no_worse(Comparison(way, other)) for other in better) else None


def _is_better(other: MeasuredWay, way: MeasuredWay) -> bool:
    """Return whether `other` is at least as fast and as accurate by the figures, and one of both more."""
    times, rights = (other.latency.mean, way.latency.mean), (other.right.sum(), way.right.sum())
    return times[0] <= times[1] and rights[0] >= rights[1] and (times[0], rights[0]) != (times[1], rights[1])


def _is_surely_no_worse(pair: Comparison) -> bool:
    """Return whether the other way of `pair` is surely no slower and no less accurate.

    Two that predict the same class for every input are of the same accuracy, however wide the interval is.
    """
    return pair.ratio_ci95[0] >= 1 and (pair.same_predictions or pair.difference_ci95[1] <= 0)
