"""How figures look in tables."""

import math
from collections.abc import Sequence


def milliseconds(value: float | None) -> str:
    """Three digits that say something: `0.0412`, `0.412`, `4.12`, `412`."""
    if value is None:
        return "–"
    decimals = min(2 - math.floor(math.log10(value)), 4) if value > 0 else 0
    return f"{value:.{max(0, decimals)}f}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of [0, 1] without the sign, which stands in the heading."""
    # + 0.0 makes 0 of -0, which rounding leaves behind.
    return "–" if share is None else f"{round(100 * share, decimals) + 0.0:.{decimals}f}"


def shares(values: Sequence[float] | None) -> str:
    """Shares of the exits in per cent: `71/20/9`."""
    return "–" if values is None else "/".join(f"{100 * value:.0f}" for value in values)
