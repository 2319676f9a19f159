"""Tables of `docs/results/photograph-commands.md` from two documents of `photo_commands.py`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eetool.records import write_atomic

_SOURCE = "benchmarks/photo_commands.py"
_WORDS = ("command",)
_NUMBERS = ("before, s", "now, s", "now / before", "before, MB", "now, MB")


def write_table(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Write a table of times and memory, named after the number of photographs; other tables of the file stay."""
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"source": _SOURCE, "tables": {}}
    columns = [{"title": title, "kind": "text" if title in _WORDS else "number"} for title in (*_WORDS, *_NUMBERS)]
    document["tables"][f"photographs-{now['photographs']}"] = {"columns": columns, "rows": rows(before, now)}
    write_atomic(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(), force=True)


def rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for every command that either version ran to its end; cells of one that did not are empty."""
    found = []
    for name in now["commands"]:
        old, new = (_ended(document["commands"].get(name)) for document in (before, now))
        if old or new:
            seconds, memory = ([one.get(key) for one in (old, new)] for key in ("seconds", "all_processes_mb"))
            ratio = round(seconds[1] / seconds[0], 2) if old and new else None
            found.append({"cells": [name, *seconds, ratio, *memory]})
    return found


def _ended(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a result, or nothing where the command failed; 7 is that of `bench` on a busy machine."""
    return result if result is not None and result["exit_code"] in (0, 7) else {}
