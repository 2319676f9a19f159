"""Encoding of records as JSON; `eetool_runtime.records` decodes it."""

from __future__ import annotations

import dataclasses
from typing import Any


def encode(value: Any) -> Any:
    """Return dataclasses and tuples as dicts and lists, the inverse of `decode`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value
