"""A closed schema made of default values: a field is valid where a default of the same name has its kind."""

import re
from typing import Any

from eetool_runtime.records import Refuse

MAX_NUMBER = 1 << 20
MAX_ITEMS = 1024
_MAX_DEPTH = 3
_WORD = re.compile(r"[A-Za-z0-9_.-]{0,64}")  # neither a path nor an address
_FORBIDDEN = ("auto_map", "attn_implementation", "experts_implementation", "quantization_config", "model_args")


def check_fields(values: dict[str, Any], defaults: dict[str, Any], where: str, refuse: Refuse) -> None:
    """Check the fields of a configuration.

    Raises:
        Exception: made by `refuse`, where a field has no default, or its value is not plain or of another kind than
            its default.
    """
    for key, value in values.items():
        if key in defaults and defaults[key] == value:
            continue
        if key not in defaults or key.startswith("_") or key in _FORBIDDEN:
            raise refuse(f"{where} has no field {key!r}" if key.isprintable() else f"{where} has no such field")
        default, place = defaults[key], f"{where}: {key}"
        if isinstance(value, dict) and isinstance(default, dict):
            check_fields(value, default, place, refuse)
        elif not _is_plain(value) or not _is_alike(value, default):
            raise refuse(f"{place} is not what a file may set it to")


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list):
        return depth < _MAX_DEPTH and len(value) <= MAX_ITEMS and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    return value is None or (isinstance(value, (bool, int, float)) and abs(value) <= MAX_NUMBER)


def _is_alike(value: Any, default: Any) -> bool:
    """Return True where both are words, switches, or numbers and lists of them; null is alike to everything."""
    return value is None or default is None or _kind(value) == _kind(default)


def _kind(value: Any) -> str:
    if isinstance(value, (bool, str, dict)):
        return type(value).__name__
    return "numbers"  # one for all, or a list with one for each
