"""Known names that resemble a mistyped one, for hints."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_CHARACTERS = 100  # of a name that is compared
_MAX_NAMES = 3


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return `Did you mean x or y? `, or an empty string where no known name resembles `word`."""
    near = near_names(word, known)
    return f"Did you mean {' or '.join(near)}? " if near else ""


def known_names(word: object, known: Iterable[str], begin: str) -> str:
    """Return a hint that lists the known names after `begin`, and before them those that resemble `word`."""
    names = list(known)
    return f"{did_you_mean(word, names)}{begin}: {', '.join(names)}."


def near_names(word: object, known: Iterable[str]) -> list[str]:
    """Return the known names that resemble `word`, the nearest first."""
    if not isinstance(word, str) or not 0 < len(word) <= _MAX_CHARACTERS:
        return []
    import difflib  # only after a mistake

    by_key = {_key(name): name for name in known}
    return [by_key[key] for key in difflib.get_close_matches(_key(word), by_key, n=_MAX_NAMES)]


def _key(name: str) -> str:
    """Return what is compared: neither case nor separators count, so that `rpi-4` is `rpi4`."""
    return name.lower().lstrip("-").replace("-", "").replace("_", "") or name
