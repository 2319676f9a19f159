"""Tables of `docs/results/foreign-networks.md` from the document of `foreign.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from foreign_summary import STATES, measured_rows, ratio, spread

from eetool.records import write_atomic

_SOURCE = "benchmarks/latency/foreign.py"
_SUMMARY = ("variant", "hour", "table", "networks", "within ±10 %", "within ±20 %", "Spearman", "median error, %")
_SUMMARY += ("largest, %", "inside the 90 % interval", "run to run, median, %")
_NETWORKS = ("network", "measured, ms", "as built", "after the check", "run to run, %")
_CASCADES = ("cascade", "operating point", "predicted, ms", "measured, ms", "error, %")


def write_tables(document: Mapping[str, Any], path: Path) -> None:
    """Write the data file of the page."""
    tables = {
        "summary": _table(_SUMMARY, 3, _summary(document["summary"])),
        "networks": _table(_NETWORKS, len(_NETWORKS), _networks(document["hours"])),
        "cascades": _table(_CASCADES, 2, _cascades(document["cascades"])),
    }
    text = json.dumps({"source": _SOURCE, "tables": tables}, indent=1, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode(), force=True)


def _table(titles: Sequence[str], texts: int, rows: list[list[Any]]) -> dict[str, Any]:
    """Return a table whose first `texts` columns are words and whose others are numbers."""
    columns = [{"title": title, "kind": "text" if i < texts else "number"} for i, title in enumerate(titles)]
    return {"columns": columns, "rows": [{"cells": row} for row in rows]}


def _summary(summary: Mapping[str, Any]) -> list[list[Any]]:
    rows = []
    for variant, hours in summary.items():
        for hour, figures in hours.items():
            for state, words in STATES.items():
                part = figures[state]
                shares = [_percent(part[name]) for name in ("within_10_percent", "within_20_percent")]
                errors = [_percent(part[name]) for name in ("median_error", "largest_error", "inside_interval")]
                spread = _percent(figures["run_to_run"]["median"])
                rank = None if part["spearman"] is None else round(part["spearman"], 4)
                rows.append([variant, hour, words, figures["networks"], *shares, rank, *errors, spread])
    return rows


def _networks(hours: Mapping[str, Any], variant: str = "onnx/fp32") -> list[list[Any]]:
    """Return a row for each network: ratios of predicted to measured latency, by hour."""
    parts = [hour[variant] for hour in hours.values() if variant in hour]
    rows = []
    for name in parts[0]["networks"] if parts else ():
        found = [row for part in parts for row in measured_rows({"networks": {name: part["networks"].get(name, {})}})]
        measured = " / ".join(f"{np.median(row['passes_ms']):.2f}" for row in found)
        ratios = [" / ".join(f"{ratio(row, state):.2f}" for row in found) for state in STATES]
        rows.append([name, measured, *ratios, " / ".join(f"{100 * spread(row):.0f}" for row in found)])
    return rows


def _cascades(cascades: Mapping[str, Any]) -> list[list[Any]]:
    rows = []
    for name, row in cascades.items():
        for point in row["points"]:
            times_ms = [round(point[key], 3) for key in ("predicted_ms", "measured_ms")]
            rows.append([name, point["point"], *times_ms, _percent(point["ratio"] - 1)])
    return rows


def _percent(share: float) -> float:
    return round(100 * share, 1)
