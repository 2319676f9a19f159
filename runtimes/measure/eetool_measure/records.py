"""Encoding of records as JSON; `eetool_runtime.records` decodes it."""

from __future__ import annotations

import dataclasses
from typing import Any


def encode(value: Any) -> Any:
    """Return dataclasses and tuples as dicts and lists, the inverse of `decode`.

    A field with the metadata `later` is left out where it has its default: earlier versions of the record lack it.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if not _is_unused(f, value)]
        return {f.name: encode(getattr(value, f.name)) for f in fields}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def _is_unused(field: dataclasses.Field[Any], record: Any) -> bool:
    return "later" in field.metadata and getattr(record, field.name) == field.default
