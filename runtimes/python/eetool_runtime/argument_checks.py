"""Conversion of arguments of any type, and their representation in messages."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any, Optional

import numpy as np

_MAX_CHARACTERS = 80  # of a value in a message
_MAX_REASON = 200


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


def short_reason(error: BaseException) -> str:
    """Return the reason of `error` as one short line without control characters."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return printable(" ".join(text.split()))


def printable(line: str) -> str:
    """Return `line` without control characters, and shortened."""
    shown = line if line.isprintable() else ascii(line)
    return shown if len(shown) <= _MAX_REASON else shown[:_MAX_REASON] + "…"
