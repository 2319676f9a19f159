"""Tables of docs/results/offload.md from the document of `offload.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SOURCE = "benchmarks/offload.py"


def write_tables(document: Mapping[str, Any], path: Path) -> None:
    """Write the data file of the page."""
    tables = {
        "faults": _faults(document["faults"]),
        "decisions": _decisions([document[name] for name in ("fp32", "uint8", "features")]),
        "latency": _latency(document["links"]),
        "choices": _choices(document["links"]),
        "break-even": _break_even(document["break_even"]),
    }
    text = json.dumps({"source": SOURCE, "tables": tables}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _table(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        "columns": [{"title": title, "kind": kind} for title, kind in columns.items()],
        "rows": [{"cells": list(row)} for row in rows],
    }


def _faults(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {"protocol, fallback": "text", "calls": "number", "under a fault": "number", "budget ms": "number"}
    columns |= {"p50 ms": "number", "p99 ms": "number", "p99.9 ms": "number", "longest ms": "number"}
    columns |= {"answered by the server": "number", "wrong": "number", "lost": "number", "counters add up": "text"}
    rows = [
        (
            f"{run['protocol']}, {run['fallback']}",
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
            *(run["case"], run["n"], run["equal"], round(100 * run["share"], 1)),
            *(
                round(100 * run["accuracy"][name], 2)
                for name in ("local", "offloaded", "local, thresholds of offloading")
            ),
        )
        for run in runs
    ]
    return _table(columns, rows)


def _latency(links: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"link": "text", "point": "text", "sent": "percent", "alone ms": "number", "predicted ms": "number"}
    columns |= {"measured ms": "number", "error": "percent"}
    rows = []
    for name, link in links.items():
        for way in link["cascade"]["ways"]:
            point = way["name"].rpartition(" + server")[0].rpartition(" ")[2]
            choice = link["cascade"]["choice"]["choices"][point]
            figures = (round(choice["local"], 1), round(way["predicted_ms"], 1), round(way["measured_ms"], 1))
            rows.append((name, point, round(100 * way["wanted"], 1), *figures, round(100 * way["error"], 1)))
    return _table(columns, rows)


def _choices(links: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"link": "text", "device": "text", "an answer takes ms": "number", "points that ask the server": "text"}
    columns |= {"break-even ms, by point": "text"}
    rows = []
    for name, link in links.items():
        for device, choice in (("slowed", link["cascade"]["choice"]), ("this machine", link["unslowed"])):
            points = choice["choices"]
            asking = ", ".join(p for p, c in points.items() if c["offloads"]) or "none"
            limits = ", ".join(f"{p} {c['break_even']:.1f}" for p, c in points.items() if c["break_even"] is not None)
            rows.append((name, device, round(choice["wait"], 1), asking, limits or "–"))
    return _table(columns, rows)


def _break_even(cuts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(cuts[0]["links"])
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
