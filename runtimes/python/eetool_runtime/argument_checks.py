"""What callers give, of whatever type: read as what is wanted, and shown in messages."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any, Optional

_LONGEST = 80  # characters of a value in a message


def real(value: Any) -> Optional[float]:
    """`value` as a float; None where it is no real number, or too large for a float."""
    try:
        return float(value) if isinstance(value, Real) else None
    except (OverflowError, ValueError):
        return None


def whole(value: Any) -> Optional[int]:
    """`value` as an int; None where it is no integer."""
    try:
        return int(operator.index(value))
    except TypeError:
        return None


def shown(value: object) -> str:
    """`value` as code would write it, cut short; its type where that fails, as for an integer of 10,000 digits."""
    try:
        text = repr(value)
    except Exception:
        return f"a value of the type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
