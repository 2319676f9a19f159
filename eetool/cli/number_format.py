"""Formatting of figures in tables."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eetool.model.spec import ExpectedDrop


def milliseconds(value: float | None) -> str:
    """Return a time with three significant digits: `0.0412`, `0.412`, `4.12`, `412`."""
    if value is None:
        return "–"
    decimals = min(2 - math.floor(math.log10(value)), 4) if value > 0 else 0
    return f"{value:.{max(0, decimals)}f}"


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in [0, 1] as per cent, without the sign, which is in the heading."""
    # + 0.0 turns the -0.0 that rounding may give into 0.
    return "–" if share is None else f"{round(100 * share, decimals) + 0.0:.{decimals}f}"


def drop_text(drop: "ExpectedDrop") -> str:
    """Return an expected accuracy drop with its interval, in percentage points: `0.31 (-0.2 … 0.8)`."""
    low, high = drop.ci95
    return f"{drop.points:.2f} ({low:.1f} … {high:.1f})"


def shares(values: Sequence[float] | None) -> str:
    """Return the shares of the exits in per cent: `71/20/9`."""
    return "–" if values is None else "/".join(f"{100 * value:.0f}" for value in values)
