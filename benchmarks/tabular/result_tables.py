"""Tables of docs/results/search-methods.md from documents of `tabular_search.py compare`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TEXT, _NUMBER, _INTERVAL = "text", "number", "interval"
_LOCAL = "local is better by"
_ACCURACY, _COST = "accuracy, %", "cost ratio of `local`"
_GAIN = "points that `local` gains"
_METHODS = (
    ("cost", _TEXT),
    ("evaluations", _NUMBER),
    ("method", _TEXT),
    (_ACCURACY, _INTERVAL),
    (_GAIN, _INTERVAL),
    (_COST, _INTERVAL),
    ("hypervolume", _INTERVAL),
)
_REGRET = (
    ("evaluations", _NUMBER),
    ("method", _TEXT),
    ("regret", _INTERVAL),
    ("of random's", _NUMBER),
)
_OBJECTIVES = (
    ("cost", _TEXT),
    ("evaluations", _NUMBER),
    ("method", _TEXT),
    ("points gained", _INTERVAL),
    ("cost ratio", _INTERVAL),
)
_ARMS = (
    ("arm", _TEXT),
    (_ACCURACY, _INTERVAL),
    ("points that the first gains", _INTERVAL),
    ("hypervolume", _INTERVAL),
)
_JOINT = (
    ("network", _TEXT),
    ("exits", _TEXT),
    ("MACs, table", _NUMBER),
    ("MACs, in full", _NUMBER),
    ("accuracy, %, table", _NUMBER),
    ("accuracy, %, in full", _NUMBER),
)
_RECOMBINED = (("evaluations", _NUMBER), ("`local`", _TEXT), *_METHODS[3:])
_RANDOM = "random"
# Leading cells that tell a comparison; a table without any holds one.
_COMPARISON = {"methods": 2, "budgets": 2, "objectives": 2, "regret": 1, "recombination": 1}


def tables(
    documents: Sequence[dict[str, Any]], source: str, earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the data file of documents that together hold all comparisons.

    Args:
        documents: of `compare`, with different objectives, evaluations or parts; and of `joint`.
        source: commands and conditions, in words.
        earlier: a data file whose rows stay where the documents have no comparison of the same kind.
    """
    result = {"methods": _table(_METHODS, [row for d in documents for row in _methods(d)])}
    budgets = [row for d in documents for row in _budgets(d)]
    shares = next(d["scales"]["macs"] for d in documents if "scales" in d)
    columns = [(f"{100 * budget / shares['cost']:.0f} % of it", _INTERVAL) for budget in shares["budgets"]]
    result["budgets"] = _table((*_METHODS[:3], *columns), budgets)
    result["regret"] = _table(_REGRET, [row for d in documents for row in _regret(d)])
    result["objectives"] = _table(_OBJECTIVES, [row for d in documents for row in _objectives(d)])
    result["recombination"] = _table(_RECOMBINED, [row for d in documents for row in _recombination(d)])
    result["ablation"] = _table(_ARMS, [row for d in documents for row in _ablation(d)])
    result["joint"] = _table(_JOINT, [row for d in documents for row in _joint(d)])
    for name, table in result.items() if earlier is not None else ():
        kept = earlier["tables"].get(name, {"rows": []})["rows"]
        table["rows"] = _joined(kept, table["rows"], _COMPARISON.get(name, 0))
    return {"source": source, "tables": {name: table for name, table in result.items() if table["rows"]}}


def _joined(earlier: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], leading: int) -> list[dict[str, Any]]:
    """Return the rows and those earlier ones that belong to other comparisons, in the order of comparisons.

    Rows of one comparison have equal `leading` cells.
    """

    def comparison(row: Mapping[str, Any]) -> list[Any]:
        cells: list[Any] = row["cells"][:leading]
        return cells

    new = [comparison(row) for row in rows]
    kept = [row for row in earlier if comparison(row) not in new and (leading or not rows)]
    return sorted([*kept, *rows], key=comparison)


def _compared(document: Mapping[str, Any]) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
    for objective, by_trials in document.get("compare", {}).items():
        for trials, methods in by_trials.items():
            for method, row in methods.items():
                yield _words(objective), int(trials), f"`{method}`", row


def _methods(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for objective, trials, method, row in _compared(document):
        gains = row.get(_LOCAL, {})
        yield [
            *(objective, trials, method, _rounded(row["accuracy_percent"], 2)),
            _rounded(gains.get("accuracy_points"), 2),
            _rounded(gains.get("cost_ratio"), 3),
            _rounded(row["hypervolume"], 3),
        ]


def _budgets(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for objective, trials, method, row in _compared(document):
        yield [objective, trials, method, *(_rounded(one, 2) for one in row["accuracy_percent_by_budget"])]


def _regret(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for trials, methods in document.get("regret", {}).items():
        if trials.isdigit():
            random = methods.get(_RANDOM, [None])[0]
            for method, regret in methods.items():
                share = round(regret[0] / random, 2) if random else None
                yield [int(trials), f"`{method}`", _rounded(regret, 4), share]


def _objectives(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for objective, by_trials in document.get("objectives", {}).items():
        for trials, methods in by_trials.items():
            for method, row in methods.items():
                gains = _rounded(row["accuracy_points"], 2), _rounded(row["cost_ratio"], 3)
                yield [_words(objective), int(trials), f"`{method}`", *gains]


def _ablation(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for arm, row in document.get("ablation", {}).items():
        gains = next((value for name, value in row.items() if name.endswith("is better by")), {})
        points = _rounded(gains.get("accuracy_points"), 2)
        yield [arm, _rounded(row["accuracy_percent"], 2), points, _rounded(row["hypervolume"], 3)]


def _recombination(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for trials, rows in document.get("recombination", {}).items():
        for name, row in rows.items():
            gains = row.get(_LOCAL, {})
            yield [
                *(int(trials), "as it is" if name == "local" else name, _rounded(row["accuracy_percent"], 2)),
                _rounded(gains.get("accuracy_points"), 2),
                _rounded(gains.get("cost_ratio"), 3),
                _rounded(row["hypervolume"], 3),
            ]


def _joint(document: Mapping[str, Any]) -> Iterator[list[Any]]:
    for network in document.get("networks", ()):
        exits = zip(network["taps"], network["branches"], strict=True)
        kinds = network["table"], network["joint"]
        yield [
            *(network["group"], "; ".join(f"{tap}: {branch}" for tap, branch in exits)),
            *(round(kind["cost_share"], 3) for kind in kinds),
            *(round(100 * kind["accuracy_at_budget"], 1) for kind in kinds),
        ]


def _words(objective: str) -> str:
    """Return the name of an objective in words: `rpi4_latency_ms` is `latency on rpi4`."""
    device, _, unit = objective.partition("_")
    return "MACs" if not unit else f"{unit.rpartition('_')[0]} on {device}"


def _rounded(interval: Sequence[float] | None, digits: int) -> list[float] | None:
    return None if interval is None else [round(value, digits) for value in interval]


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        "columns": [{"title": title, "kind": kind} for title, kind in columns],
        "rows": [{"cells": list(row)} for row in rows],
    }
