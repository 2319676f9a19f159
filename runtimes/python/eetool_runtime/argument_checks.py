"""Conversion of arguments of any type, and their representation in messages."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any, Optional

import numpy as np

_MAX_CHARACTERS = 80  # of a value in a message


def as_float(value: Any) -> Optional[float]:
    """Return `value` as a float, or None where it is not a real number or overflows."""
    try:
        return float(value) if isinstance(value, Real) else None
    except (OverflowError, ValueError):
        return None


def as_int(value: Any) -> Optional[int]:
    """Return `value` as an int, or None where it is not an integer."""
    if isinstance(value, np.bool_):  # numpy 2 raises a TypeError below, numpy 1 a DeprecationWarning
        return None
    try:
        return int(operator.index(value))
    except TypeError:
        return None


def short_repr(value: object) -> str:
    """Return `repr(value)`, truncated; the type where `repr` fails, as for an integer of 10,000 digits."""
    try:
        text = repr(value)
    except Exception:
        return f"a value of the type {type(value).__name__}"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
