"""Words of figures in messages and tables: counts with their nouns, and what an energy includes."""

from collections.abc import Mapping

_SCOPES = {
    "board_gross": "whole board",
    "board_net": "board, idle subtracted",
    "core_net": "processor rail, idle subtracted",
}


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 example`, `2 examples`; `plural` where it is not the noun with an s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def scope_words(scope: str | None) -> str:
    """Return in words what an energy includes; other scopes as they are."""
    return "" if scope is None else _SCOPES.get(scope, scope)


def cut_remarks(exits: Mapping[str, int | None]) -> list[str]:
    """Return a line for each exit where nearly every input leaves.

    Args:
        exits: `eetool.metrics.degenerate_exit` by the name of the way or operating point.
    """
    names: dict[int, list[str]] = {}
    for name, where in exits.items():
        if where is not None:
            names.setdefault(where, []).append(name)
    return [
        f"note: at {', '.join(found)} nearly every input leaves at exit {where}; a net cut there would do as well"
        for where, found in sorted(names.items())
    ]
