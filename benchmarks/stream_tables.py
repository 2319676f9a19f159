"""Tables of `docs/results/streams.md` from the document of `benchmarks/streams.py`."""

from collections.abc import Sequence
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
_ABSOLUTE = ("mean, ms", "p99, ms")
_FRONT = (
    ("front", _TEXT),
    ("p95 asked, s", _NUMBER),
    *(column for column in _WAYS if column[0] not in _ABSOLUTE),
)
_CONTEXT = tuple(column for column in _WAYS if column[0] not in (*_ABSOLUTE, "latency, ratio"))
_FOLDS = (
    ("reported subjects", _TEXT),
    ("recipe", _TEXT),
    ("changes", _NUMBER),
    ("accuracy of the exits, %", _TEXT),
    ("the same on the persons of the choices, %", _TEXT),
    ("exercises missed", _TEXT),
)


def tables(document: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the data file `docs/results/data/streams.json` of a document with latencies.

    Args:
        document: of `benchmarks/streams.py`.
        source: command and conditions, in words.
    """
    limit = f"{document['goal']['reaction_p95_s']:g}"
    result = {name: _table(_WAYS, _at(document[name], limit)) for name in _PARTS if name in document}
    smartwatch = document["smartwatch"]
    result["front"] = _table(_FRONT, _front(smartwatch))
    context = [_simulated(kind, row) for kind, row in smartwatch["learned_context"]["ways"].items()]
    result["learned_context"] = _table(_CONTEXT, context)
    hindsight = [
        [float(asked), *_simulated(kind, row)]
        for asked, kinds in smartwatch["in_hindsight"].items()
        for kind, row in kinds.items()
    ]
    result["in_hindsight"] = _table((_FRONT[1], *_CONTEXT), hindsight)
    result["lossy"] = _table(_CONTEXT, [_simulated(kind, row) for kind, row in smartwatch["lossy"].items()])
    result["cut"] = _table(_CONTEXT, [_simulated(kind, row) for kind, row in smartwatch["cut"].items()])
    result["folds"] = _table(_FOLDS, _folds(smartwatch))
    recipes = list(smartwatch["recipes"])
    columns = (("reported subjects", _TEXT), *((f"{name}, %", _NUMBER) for name in recipes))
    result["recipes"] = _table(columns, _recipes(smartwatch, recipes))
    return {"source": source, "tables": result}


def _table(columns: Sequence[tuple[str, str]], rows: list[list[Any]]) -> dict[str, Any]:
    named = [{"title": title, "kind": kind} for title, kind in columns]
    return {"columns": named, "rows": [{"cells": row} for row in rows]}


def _at(part: dict[str, Any], limit: str) -> list[list[Any]]:
    """Return a row of `_WAYS` for every kind at one limit of the reaction."""
    rows = []
    for kind, row in part["fronts"][limit].items():
        clock, cells = part["clock"]["ways"][limit][kind], _simulated(kind, row)
        times = [round(clock["ratio"], 2), round(clock["mean_ms"], 3), round(clock["p99_ms"], 3)]
        rows.append([*cells[:4], *times, *cells[4:]])
    return rows


def _front(part: dict[str, Any]) -> list[list[Any]]:
    """Return a row of `_FRONT` for every kind at every limit; full depth has no parameter, and stands once."""
    rows = []
    for limit, kinds in part["fronts"].items():
        for kind, row in kinds.items():
            cells = _simulated(kind, row)
            if any(cells == [*other[2:6], *other[7:]] for other in rows):
                continue
            ratio = round(part["clock"]["ways"][limit][kind]["ratio"], 2)
            rows.append(["", float(limit), *cells[:4], ratio, *cells[4:]])
    for row in rows:
        row[0] = "" if any(_is_better(other, row) for other in rows) else "*"
    return rows


def _is_better(other: list[Any], row: list[Any]) -> bool:
    """Return whether another way is as accurate, fast and quick to react, and better in one of these."""
    mine, its = ((-r[3], r[6], r[8]) for r in (row, other))
    return its != mine and all(a <= b for a, b in zip(its, mine, strict=True))


def _folds(part: dict[str, Any]) -> list[list[Any]]:
    return [
        [
            case["name"].removeprefix("subjects "),
            chosen["recipe"],
            case["changes"]["report"],
            _shares(case["exit_accuracy"]),
            _shares(case["exit_accuracy_of_choice"]),
            f"{case['missed_segments']['missed']} of {case['missed_segments']['segments']}",
        ]
        for case, chosen in zip(part["cases"], part["chosen"], strict=True)
    ]


def _shares(accuracies: Sequence[float]) -> str:
    return " / ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)


def _recipes(part: dict[str, Any], recipes: Sequence[str]) -> list[list[Any]]:
    return [
        [
            case["name"].removeprefix("subjects "),
            *(round(100 * chosen["accuracy_of_others"][name], 2) for name in recipes),
        ]
        for case, chosen in zip(part["cases"], part["chosen"], strict=True)
    ]


def _simulated(kind: str, row: dict[str, Any]) -> list[Any]:
    low, high = row["accuracy_difference_ci95"]
    return [
        kind,
        round(100 * row["accuracy"], 2),
        [round(value, 2) for value in (row["accuracy_difference"], low, high)],
        round(row["mac_ratio"], 2),
        round(row["reaction_mean_s"], 1),
        round(row["reaction_p95_s"], 1),
        round(row["false_switches_per_minute"], 1),
    ]
