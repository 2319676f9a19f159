"""Tables of `docs/results/streams.md` from the document of `benchmarks/streams.py`."""

from typing import Any

_PARTS = ("smartwatch", "spoken_digits", "cifar10")
_TEXT, _NUMBER, _INTERVAL = "text", "number", "interval"
_WAYS = (
    ("way", _TEXT),
    ("accuracy, %", _NUMBER),
    ("difference, points", _INTERVAL),
    ("MACs, ratio", _NUMBER),
    ("latency, ratio", _NUMBER),
    ("mean, ms", _NUMBER),
    ("p99, ms", _NUMBER),
    ("reaction, s", _NUMBER),
    ("p95, s", _NUMBER),
    ("false switches per minute", _NUMBER),
)
_TIMES = ("latency, ratio", "mean, ms", "p99, ms")
_SIMULATED = tuple(column for column in _WAYS if column[0] not in _TIMES)
_FRONT = (("reaction asked, s", _NUMBER), *_SIMULATED)
_CONTEXT = _SIMULATED[:-1]


def tables(document: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the data file `docs/results/data/streams.json` of a document with latencies.

    Args:
        document: of `benchmarks/streams.py`.
        source: command and conditions, in words.
    """
    limit = f"{document['goal']['reaction_p95_s']:g}"
    result = {}
    for name in (part for part in _PARTS if part in document):
        part = document[name]
        rows = [_way(kind, row, part["clock"]["ways"][kind]) for kind, row in part["fronts"][limit].items()]
        result[name] = _table(_WAYS, rows)
    smartwatch = document["smartwatch"]
    front = [
        [float(asked), *_simulated(kind, row)]
        for asked, kinds in smartwatch["fronts"].items()
        for kind, row in kinds.items()
    ]
    result["front"] = _table(_FRONT, front)
    context = [_simulated(kind, row)[:-1] for kind, row in smartwatch["learned_context"]["ways"].items()]
    result["learned_context"] = _table(_CONTEXT, context)
    return {"source": source, "tables": result}


def _table(columns: tuple[tuple[str, str], ...], rows: list[list[Any]]) -> dict[str, Any]:
    named = [{"title": title, "kind": kind} for title, kind in columns]
    return {"columns": named, "rows": [{"cells": row} for row in rows]}


def _simulated(kind: str, row: dict[str, Any]) -> list[Any]:
    low, high = row["accuracy_difference_ci95"]
    return [
        kind,
        round(100 * row["accuracy"], 2),
        [round(value, 2) for value in (row["accuracy_difference"], low, high)],
        round(row["mac_ratio"], 2),
        round(row["reaction_mean_s"], 1),
        round(row["reaction_p95_s"], 1),
        round(row.get("false_switches_per_minute", 0.0), 1),
    ]


def _way(kind: str, row: dict[str, Any], clock: dict[str, Any]) -> list[Any]:
    times = [round(clock["ratio"], 2), round(clock["mean_ms"], 3), round(clock["p99_ms"], 3)]
    cells = _simulated(kind, row)
    return [*cells[:4], *times, *cells[4:]]
