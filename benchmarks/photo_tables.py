"""Results of `photos.py` as the tables of `docs/results/photographs.md`."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

Row = dict[str, Any]
ENGINES = ("onnx", "tflite")
_TITLES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}
_FULL_SIZE = "lite0-224"
_LONGEST_ANSWER = 400  # characters
_SAME = 0.01  # relative difference of two predictions of one network, as a graph of its own and inside a bundle
_GOALS = {"inside": "≤ 0.70 at ≤ 1 point", "cascade": "≤ 0.50 at ≤ 0.5 points"}


def tables(results: dict[str, Any], note: str) -> dict[str, Any]:
    """Return the results as a data file of `docs/results`."""
    first = results["first_split"]
    ways = way_rows(first)
    return {
        "source": f"benchmarks/photos.py; {note}",
        "tables": {
            "goals-met": _goal_table(first, ways),
            "tried": _tried_table(first),
            **{engine: _way_table(first, [way for way in ways if way["engine"] == engine]) for engine in ENGINES},
            "from-files": _file_table(first["from_files"]),
            "random-splits": _random_table(results["random_splits"]),
            "three": _three_table(first),
            "devices": _device_table(first),
            "refusals": _refusal_table(first["refusals"]),
            "memory": _memory_table(first["steps"]),
        },
    }


def chosen_forms(document: dict[str, Any]) -> dict[str, str]:
    """Return the forms, by role, that the first split of a data file chose."""
    rows = [row["cells"] for row in document["tables"]["goals-met"]["rows"]]
    return {cells[0]: str(cells[2]).split(", ")[0] for cells in rows}


def with_random_splits(document: dict[str, Any], splits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a data file with the table of these random splits."""
    return {**document, "tables": {**document["tables"], "random-splits": _random_table(splits)}}


def way_rows(first: dict[str, Any]) -> list[Row]:
    """Return every way of the first split once, with the form that it is of and its ratio within its engine.

    The unsplit networks of the forms are left out: each is one of the static networks, or a sum of several.
    """
    rows: list[Row] = []
    for form, document in first["benches"].items():
        engines = {way["variant"]: way for way in document["ways"] if _is_static(way, _FULL_SIZE)}
        for way in document["ways"]:
            if way["kind"] == "unsplit":
                continue
            network = form if way["kind"] == "early_exit" else way["name"].split(".eebundle")[0]
            if any(
                row["network"] == network and row["point"] is None and row["variant"] == way["variant"] for row in rows
            ):
                continue  # the network that every benchmark is compared with
            engine, precision = way["variant"].split("/")
            own = engines[f"{engine}/fp32"]["latency_ms"]
            rows.append(
                {
                    **way,
                    **{"network": network, "engine": engine, "precision": precision, "point": way["operating_point"]},
                    "own_ratio": way["latency_ms"]["mean"] / own["mean"],
                    "own_p99_ratio": way["latency_ms"]["p99"] / own["p99"],
                }
            )
    return rows


def front(ways: Sequence[Row]) -> list[Row]:
    """Return the ways of one engine that no other equals in accuracy and beats in mean latency, or the reverse."""

    def beaten(way: Row) -> bool:
        return any(
            other["accuracy"] >= way["accuracy"]
            and other["own_ratio"] <= way["own_ratio"]
            and (other["accuracy"], -other["own_ratio"]) != (way["accuracy"], -way["own_ratio"])
            for other in ways
        )

    return [way for way in ways if not beaten(way)]


def _is_static(way: Row, network: str) -> bool:
    return way["kind"] == "against" and way["name"].split(".eebundle")[0] == network


def _is_chosen(first: dict[str, Any], way: Row) -> bool:
    return any(one["form"] == way["network"] and one["point"] == way["point"] for one in first["chosen"].values())


def _goal_table(first: dict[str, Any], ways: Sequence[Row]) -> dict[str, Any]:
    rows = [
        [
            role,
            _GOALS[role],
            f"{way['network']}, {way['point']}",
            f"{_TITLES[way['engine']]} {way['precision']}",
            _rounded((way["accuracy_difference"], *way["accuracy_difference_ci95"]), 2),
            round(way["own_ratio"], 2),
            round(way["own_p99_ratio"], 2),
        ]
        for role in _GOALS
        for way in ways
        if (way["network"], way["point"]) == (first["chosen"][role]["form"], first["chosen"][role]["point"])
    ]
    return _table(_GOAL_COLUMNS, rows)


def _tried_table(first: dict[str, Any]) -> dict[str, Any]:
    """Return what was expected of every form on held-out photographs; bold rows were chosen."""
    reference = first["reference"]
    chosen = {(one["form"], one["point"]): role for role, one in first["chosen"].items()}
    rows = []
    for points in _equal_points(first["tried"]):
        at = points[0]
        role = next((chosen[key] for one in points if (key := (one["form"], one["point"])) in chosen), None)
        cells = [
            at["form"],
            ", ".join(one["point"] for one in points),
            round(100 * (at["accuracy"] - reference["accuracy"]), 2),
            round(at["macs"] / reference["macs"], 2),
            [round(100 * share) for share in at["shares"]],
            role or "",
        ]
        rows.append({"cells": cells, **({"bold": [0, 1]} if role else {})})
    return {**_table(_TRIED_COLUMNS, []), "rows": rows}


def _equal_points(tried: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the points of each form, those with the same thresholds together."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for at in tried:
        groups.setdefault((at["form"], at["accuracy"], at["macs"], *at["shares"]), []).append(at)
    return list(groups.values())


def _way_table(first: dict[str, Any], ways: Sequence[Row]) -> dict[str, Any]:
    """Return static networks, chosen points and the front of one engine, the most accurate first."""
    best = front(ways)
    shown = [way for way in ways if way["point"] is None or way in best or _is_chosen(first, way)]
    rows = [
        [
            "*" if way in best else None,
            way["network"],
            way["precision"],
            way["point"] or "",
            round(100 * way["accuracy"], 2),
            _rounded((way["accuracy_difference"], *way["accuracy_difference_ci95"]), 1),
            round(way["latency_ms"]["mean"], 2),
            round(way["latency_ms"]["p99"], 2),
            _rounded((way["latency_ratio"], *way["latency_ratio_ci95"]), 2),
            round(way["own_ratio"], 2),
            None if way["exit_shares"] is None else [round(100 * share) for share in way["exit_shares"]],
        ]
        for way in sorted(shown, key=lambda way: (-way["accuracy"], way["own_ratio"]))
    ]
    return _table(_WAY_COLUMNS, rows)


def _file_table(forms: dict[str, Any]) -> dict[str, Any]:
    rows = [
        [form, own["point"], round(own["mean_ms"], 2), _rounded((own["ratio"], *own["ratio_ci95"]), 2)]
        for form, own in forms.items()
    ]
    return _table({"network": "text", "point": "text", "mean, ms": "number", "ratio": "interval"}, rows)


def _random_table(splits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over random splits with their standard errors: every operating point, and what the rule chose."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for split in splits:
        for role, document in split.get("benches", {}).items():
            base = next(way for way in document["ways"] if way["name"] == document["reference"])
            for way in document["ways"]:
                macs = way["mean_macs"] / base["mean_macs"]
                for name in _random_names(way, base, role, split["chosen"][role]):
                    found.setdefault(name, []).append((way["accuracy_difference"], way["latency_ratio"], macs))
    rows = [[name, len(values), *map(_mean_with_error, np.array(values).T)] for name, values in found.items()]
    return _table(_RANDOM_COLUMNS, sorted(rows, key=lambda row: row[0]))


def _random_names(way: Row, base: Row, role: str, chosen: dict[str, Any]) -> list[str]:
    """Return the rows of the table that a way of a split counts for."""
    if way["kind"] == "early_exit":
        rule = [f"{role}, by the rule: {chosen['form']}"] if way["operating_point"] == chosen["point"] else []
        return [f"{chosen['form']}, {way['operating_point']}", *rule]
    return [way["name"].split(".eebundle")[0]] if way["kind"] == "against" and way is not base else []


def _mean_with_error(values: np.ndarray) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.2f} ± {error:.2f}".replace("-", "−")


def _three_table(first: dict[str, Any]) -> dict[str, Any]:
    """Return the order that was fitted to three networks, and the cheapest cascade with each that was left out."""
    rows = []
    for name, fit in first["order"].items():
        kept = [("all three", fit["given"]), ("chosen", fit["chosen"])]
        kept += [(f"cheapest with {_stem(left)}", choice) for left, choice in fit["without"].items()]
        rows += [
            [name, what, *_order_cells(choice, first["reference"]["macs"])]
            for what, choice in kept
            if choice is not None
        ]
    return _table(_THREE_COLUMNS, rows)


def _order_cells(choice: dict[str, Any], macs: float) -> list[Any]:
    files = " → ".join(_stem(file) for file in choice["files"])
    if choice["mean_cost"] is None:
        return [files, None, None, None]
    shares = [round(100 * share) for share in choice["shares"]]
    return [files, round(100 * choice["accuracy"], 1), round(choice["mean_cost"] / macs, 2), shares]


def _stem(file: str) -> str:
    return file.removesuffix(".pt")


def _device_table(first: dict[str, Any]) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for form, documents in first["devices"].items():
        for device, document in documents.items():
            for row in document["comparison"]["rows"]:
                own = row["role"] == "operating_point" and any(
                    (one["form"], one["point"]) == (form, row["name"]) for one in first["chosen"].values()
                )
                static = row["role"] == "rival" and form == next(iter(first["devices"]))
                if own or static:
                    rows.append([device, *_predicted_cells(form, row, document), _basis_percents(document)])
    return _table(_DEVICE_COLUMNS, sorted(rows, key=lambda cells: cells[0]))


def _predicted_cells(form: str, row: Row, document: dict[str, Any]) -> list[Any]:
    """Return name, latency, ratio to the unsplit network at 224 pixels, and accuracy.

    The ratio has an interval where that network is also the one that the document compares with.
    """
    others = document["comparison"]["rows"]
    base = next(one for one in others if one["name"].split(".eebundle")[0] == _FULL_SIZE)
    own = next(one for one in others if one["role"] == "unsplit")
    name = f"{form}, {row['name']}" if row["role"] == "operating_point" else row["name"].split(".eebundle")[0]
    accuracy = None if row["accuracy"] is None else round(100 * row["accuracy"], 2)
    if row["latency_ms"] is None:
        return [name, None, None, accuracy]
    ratio: Any = round(row["latency_ms"] / base["latency_ms"], 2)
    if row["latency_ratio_ci95"] and abs(own["latency_ms"] / base["latency_ms"] - 1) < _SAME:
        ratio = [ratio, *_rounded(row["latency_ratio_ci95"], 2)]
    return [name, _rounded((row["latency_ms"], *row["interval_ms"]), 1), ratio, accuracy]


def _basis_percents(document: dict[str, Any]) -> list[int]:
    """Return the shares of the predicted time of kernels with measured, fitted and guessed figures."""
    coverage = document["coverage"]
    return [
        round(100 * sum(one["share"] for one in coverage if one["basis"] == basis))
        for basis in ("measured", "fitted", "guessed")
    ]


def _refusal_table(refusals: Iterable[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        [one["case"], f"`{_typed(one['command'])}`", one["code"], one["seconds"], _shortened(one["answer"])]
        for one in refusals
    ]
    return _table(_REFUSAL_COLUMNS, rows)


def _typed(command: str) -> str:
    """Return a command without the options of this benchmark and without folders of this machine."""
    words = [PurePosixPath(word).name if word.startswith("/") else word for word in command.split()]
    return " ".join(word for word in words if word not in ("--json", "--force"))


def _shortened(answer: str) -> str:
    words = [PurePosixPath(word).name if word.startswith("/") else word for word in answer.replace("|", "/").split()]
    return textwrap.shorten(" ".join(words), _LONGEST_ANSWER, placeholder=" …")


def _memory_table(steps: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the number, the longest time and the largest memory of each command."""
    verbs: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        if step["code"] in (0, 7):
            verbs.setdefault(step["command"].split()[1], []).append(step)
    rows = [
        [f"`eetool {verb}`", len(own), max(step["seconds"] for step in own), max(step["peak_mb"] for step in own)]
        for verb, own in verbs.items()
    ]
    return _table({"command": "text", "runs": "number", "longest, s": "number", "peak memory, MB": "number"}, rows)


_GOAL_COLUMNS = {
    **{"role": "text", "goal": "text", "chosen on held-out photographs": "text", "engine": "text"},
    **{"difference, points": "interval", "ratio": "number", "p99 ratio": "number"},
}
_TRIED_COLUMNS = {
    **{"form": "text", "point": "text", "expected difference, points": "number", "MACs ratio": "number"},
    **{"exits, %": "shares", "chosen as": "text"},
}
_WAY_COLUMNS = {
    **{"front": "text", "network": "text", "precision": "text", "point": "text", "accuracy, %": "number"},
    **{"difference, points": "interval", "mean, ms": "number", "p99, ms": "number"},
    **{"ratio to ONNX fp32": "interval", "ratio in its engine": "number", "exits, %": "shares"},
}
_RANDOM_COLUMNS = {
    **{"network": "text", "splits": "number", "difference, points": "text", "latency ratio": "text"},
    **{"MACs ratio": "text"},
}
_THREE_COLUMNS = {
    **{"logits": "text", "cascade": "text", "networks": "text", "held-out accuracy, %": "number"},
    **{"MACs ratio": "number", "leaving at each network, %": "shares"},
}
_DEVICE_COLUMNS = {
    **{"device": "text", "network": "text", "ms": "interval", "ratio": "interval", "accuracy, %": "number"},
    **{"kernels measured / fitted / guessed, % of time": "list/"},
}
_REFUSAL_COLUMNS = {"case": "text", "command": "text", "code": "number", "s": "number", "answer": "text"}


def _rounded(values: Iterable[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]


def _table(columns: dict[str, str], rows: Iterable[list[Any]]) -> dict[str, Any]:
    titles = [{"title": title, "kind": kind} for title, kind in columns.items()]
    return {"columns": titles, "rows": [{"cells": cells} for cells in rows]}
