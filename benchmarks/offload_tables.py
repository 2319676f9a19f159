"""Tables of docs/results/offload.md from the document of `offload.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SOURCE = "benchmarks/offload.py"
_CASES = {
    "cascade-0-fp32": "cascade, image in float32",
    "cascade-0-uint8": "cascade, pixels in 8 bits",
    "frozen-0-uint8": "frozen ResNet-20, features in 8 bits",
}
_PROTOCOLS = {"grpc": "gRPC", "http": "REST"}


def write_tables(document: Mapping[str, Any], path: Path) -> None:
    """Write the data file of the page. Tables of parts that the document lacks have no rows."""
    links = document.get("links", {})
    tables = {
        "faults": _faults(document.get("faults", ())),
        "decisions": _decisions([document[name] for name in ("fp32", "uint8", "features")]),
        "latency": _latency(links),
        "choices": _choices(links),
        "break-even": _break_even(document.get("break_even", ())),
    }
    text = json.dumps({"source": SOURCE, "tables": tables}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _table(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        "columns": [{"title": title, "kind": kind, "missing": "–"} for title, kind in columns.items()],
        "rows": [{"cells": list(row)} for row in rows],
    }


def _faults(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {"protocol, fallback": "text", "calls": "number", "under a fault": "number", "budget ms": "number"}
    columns |= {"p50 ms": "number", "p99 ms": "number", "p99.9 ms": "number", "longest ms": "number"}
    columns |= {"answered by the server": "number", "wrong": "number", "lost": "number", "counters add up": "text"}
    rows = [
        (
            f"{_PROTOCOLS[run['protocol']]}, {run['fallback']}",
            *(run["calls"], run["under_fault"], round(run["budget_ms"])),
            *(round(run["latency_ms"][p], 1) for p in ("p50", "p99", "p99.9", "p100")),
            *(run["outcomes"].get("ok", 0), run["wrong"], run["lost"]),
            "yes" if run["counters_add_up"] else "no",
        )
        for run in runs
    ]
    return _table(columns, rows)


def _decisions(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {"case": "text", "images": "number", "equal decisions": "number", "sent": "percent"}
    columns |= {"accuracy on the device": "percent", "with the server": "percent"}
    columns |= {"on the device, thresholds of the server": "percent"}
    rows = [
        (
            *(_CASES.get(run["case"], run["case"]), run["n"], run["equal"], round(100 * run["share"], 1)),
            *(
                round(100 * run["accuracy"][name], 2)
                for name in ("local", "offloaded", "local, thresholds of offloading")
            ),
        )
        for run in runs
    ]
    return _table(columns, rows)


def _latency(links: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operating points for which `tune` chose to ask the server."""
    columns = {"link": "text", "device": "text", "slowdown": "number", "point": "text", "sent, expected": "percent"}
    columns |= {"sent": "percent", "alone ms": "number", "predicted ms": "number", "measured ms": "number"}
    columns |= {"error": "percent", "accuracy alone": "percent", "accuracy": "percent"}
    rows = []
    for name, row in _devices(links):
        for way in row["bench"]["ways"] if row["bench"]["tuned"] else ():
            point = _point(way)
            choice = row["choice"]["choices"][point]
            shares = (_percent(choice["share"], 1), _percent(way["wanted"], 1))
            times = (
                round(row["bench"]["mean_ms"][point], 1),
                round(choice["link_up"], 1),
                round(way["measured_ms"], 1),
            )
            accuracies = [_percent(row["bench"]["accuracy"][one], 1) for one in (point, way["name"])]
            factor = row["slowdown"]
            rows.append((name, row["device"], factor, point, *shares, *times, _percent(way["error"], 1), *accuracies))
    return _table(columns, rows)


def _choices(links: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided for every device and operating point, and what asking costs where `tune` chose not to."""
    columns = {"link": "text", "device": "text", "point": "text", "sent": "percent", "an answer takes ms": "number"}
    columns |= {"break-even ms": "number", "tune asks": "text", "alone, predicted ms": "number"}
    columns |= {"alone, measured ms": "number", "asked, measured ms": "number"}
    rows = []
    for name, row in _devices(links):
        asked = {_point(way): way for way in row["bench"]["ways"]}
        for point, choice in row["choice"]["choices"].items():
            way = asked.get(point)
            rows.append(
                (
                    *(name, row["device"], point, _percent(choice["share"], 1), round(choice["wait"], 1)),
                    None if choice["break_even"] is None else round(choice["break_even"], 1),
                    "yes" if choice["offloads"] else "no",
                    round(choice["local"], 1),
                    round(row["bench"]["mean_ms"][point], 1),
                    None if way is None else round(way["measured_ms"], 1),
                )
            )
    return _table(columns, rows)


def _devices(links: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, row) for name, link in links.items() for row in link["devices"]]


def _point(way: Mapping[str, Any]) -> str:
    """Return the operating point of a way that asks the server."""
    point: str = way["name"].rpartition(" + server")[0].rpartition(" ")[2]
    return point


def _percent(share: float | None, digits: int) -> float | None:
    return None if share is None else round(100 * share, digits)


def _break_even(cuts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(cuts[0]["links"]) if cuts else []
    columns = {"network": "text", "sent": "text", "bytes": "number", "rest on the device ms": "number"}
    columns |= {"rest on the server ms": "number"} | {f"{name}: call ms, by the rule": "text" for name in names}
    rows = []
    for cut in cuts:
        place = "input" if cut["cut"] == "input" else f"behind exit {cut['cut']}"
        links = [_call(cut["links"][name]) for name in names]
        times = (round(cut["tail_ms"], 1), round(cut["server_ms"], 1))
        rows.append((cut["network"], f"{place}, {cut['wire']}", cut["bytes"], *times, *links))
    return _table(columns, rows)


def _call(link: Mapping[str, Any]) -> str:
    pays = "pays" if link["pays"] else "no"
    rule = "" if link["pays"] == link["rule_pays"] else "; the rule errs"
    return f"{link['measured_ms']:.1f}, {link['rule_ms']:.1f}: {pays}{rule}"
