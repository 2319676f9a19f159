"""Estimates of 40 published architectures that no probe was made after, against measurement: one JSON document.

    python benchmarks/latency/foreign.py my.json -o foreign.json --hour morning
    python benchmarks/latency/foreign.py my.json -o foreign.json --hour evening    # two hours later, adds to it
    python benchmarks/latency/foreign.py my.json -o foreign.json --variant tflite/fp32 --hour morning

The table is checked first (`eetool table check`), and every network is estimated with the table as it was built and
as the check corrected it. Networks are measured in the protocol of probes, a few interleaved, in passes minutes apart.
The median of the passes counts, and the difference is the run-to-run spread that limits every estimate. Each group of
networks is written when it is measured, so an interrupted hour resumes where it was. `--cascades` adds two cascades at
224 px against `eetool bench`. Figures over all hours are in `summary`, and `--tables` writes those of the page.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from foreign_cascades import CASCADES, compare_cascade
from foreign_files import write_variant
from foreign_networks import NETWORKS
from foreign_tables import write_tables
from scipy.stats import spearmanr
from table import measure

from eetool.latency.check.correction import check_remarks, correct_profile
from eetool.latency.check.table_check import TableCheck, check_table, require_machine
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.latency.estimate.predictor import Predictor, predict
from eetool.latency.probes.probe_files import ProbeKind
from eetool.latency.table.hw_profile import HwProfile, read_profile
from eetool.latency.table.table import BACKENDS
from eetool.profile.local_runner import run_measure
from eetool.records import write_atomic
from eetool_measure.machine import read_machine
from eetool_measure.records import encode

_GROUP = 4  # networks that are measured before the document is written
_VARIANTS = ("onnx/fp32", "onnx/int8", "tflite/fp32")


def main() -> int:
    """Measure what one hour of the document lacks, and summarise all hours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, help="a hw profile of this machine with reference probes")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--hour", required=True, metavar="NAME", help="name of this hour, such as morning")
    parser.add_argument("--variant", default=_VARIANTS[0], choices=_VARIANTS)
    parser.add_argument("--networks", type=Path, default=Path("foreign-networks"), help="folder that keeps the files")
    parser.add_argument("--only", action="append", metavar="NAME", help="a network or cascade; repeatable, for a trial")
    parser.add_argument("--runs", type=int, default=30, help="timed calls of a network in each pass")
    parser.add_argument("--passes", type=int, default=4, help="over all networks")
    parser.add_argument(
        "--quick", action="store_true", help="four small networks, two passes of ten runs: a trial, not a result"
    )
    parser.add_argument("--tables", type=Path, help="data file of docs/results/foreign-networks.md, written as well")
    parser.add_argument("--cascades", action="store_true", help="cascades against `eetool bench`, not the networks")
    options = parser.parse_args()
    profile = read_profile(options.table)
    require_machine(profile, read_machine())
    document = _read(options.output)
    if options.cascades:
        _add_cascades(document, options)
    else:
        _add_hour(document, profile, options)
    document["summary"] = summaries(document["hours"])
    _write(options.output, document)
    if options.tables is not None:
        write_tables(document, options.tables)
    print(json.dumps({"summary": document["summary"], "cascades": document["cascades"]}, indent=2))
    return 0


def _read(path: Path) -> dict[str, Any]:
    if path.exists():
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document
    return {"schema": "foreign/1", "machine": encode(read_machine()), "hours": {}, "cascades": {}, "summary": {}}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode(), force=True)


def _add_hour(document: dict[str, Any], profile: HwProfile, options: argparse.Namespace) -> None:
    """Measure the networks that an hour lacks; each group is written with the check that preceded it."""
    kind = ProbeKind(*options.variant.split("/"))
    names = options.only or (_QUICK if options.quick else list(NETWORKS))
    runs, passes = (10, 2) if options.quick else (options.runs, options.passes)
    hour = document["hours"].setdefault(options.hour, {}).setdefault(options.variant, {"checks": [], "networks": {}})
    paths = {}
    for name in (name for name in names if name not in hour["networks"]):
        path = write_variant(options.networks, name, kind)
        if path is None:
            hour["networks"][name] = {"left_out": f"it cannot be written as {kind.name}"}
        else:
            paths[name] = path
    checked = correct_profile(profile, _check(profile, kind, hour)) if paths else profile
    tables = {"as_built": profile, "checked": checked}
    estimates = {
        word: {name: estimate(table, path, kind) for name, path in paths.items()} for word, table in tables.items()
    }
    for name in paths:
        hour["networks"][name] = {"passes_ms": [], **{word: row[name] for word, row in estimates.items()}}
    for number in range(passes):
        rows = hour["networks"]
        waiting = [n for n in names if "passes_ms" in rows[n] and len(rows[n]["passes_ms"]) == number]
        while waiting:
            group, waiting = waiting[:_GROUP], waiting[_GROUP:]
            files = [write_variant(options.networks, name, kind) for name in group]
            for name, ms in zip(group, measure([path for path in files if path], kind, runs), strict=True):
                hour["networks"][name]["passes_ms"].append(float(ms))
            _write(options.output, document)
            sys.stderr.write(f"{options.hour} {options.variant}: pass {number + 1}, {len(waiting)} networks left\n")


_QUICK = ["mobilenet-v1-025-128", "bert-tiny-128", "mixer-slim-96", "two-streams-96"]


def _check(profile: HwProfile, kind: ProbeKind, hour: dict[str, Any]) -> TableCheck:
    """Check the table and record factors and load."""
    check = check_table(profile, [(BACKENDS[kind.format], kind.precision, 1)], run_measure)
    row = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seconds": check.seconds}
    hour["checks"].append(row | {"load": os.getloadavg()[0], "remarks": list(check_remarks(check))})
    hour["checks"][-1]["factors"] = encode(check.conditions[0].factors)
    return check


def estimate(profile: HwProfile, path: Path, kind: ProbeKind) -> dict[str, Any]:
    """Return the estimate of a file with one thread."""
    predictor = Predictor(profile, BACKENDS[kind.format], kind.precision, 1)
    prediction = predict(target_of_variant(path, kind.name, predictor.channel_block), predictor)
    cost: GraphCost = prediction.graphs[0]
    return {
        "latency_ms": cost.latency_ms,
        "interval_ms": list(cost.interval_ms),
        "measured_share": cost.measured_share,
        "guessed_share": sum(row.share for row in prediction.coverage if row.basis == "guessed"),
        "unknown_operators": list(cost.unknown_operators),
    }


def summaries(hours: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of every variant: of each hour, and of all networks of all hours."""
    result: dict[str, Any] = {}
    for variant in _VARIANTS:
        by_hour = {name: _rows(hour[variant]) for name, hour in hours.items() if variant in hour}
        by_hour = {name: rows for name, rows in by_hour.items() if rows}
        if by_hour:
            everything = [row for rows in by_hour.values() for row in rows]
            result[variant] = {name: summary(rows) for name, rows in {**by_hour, "all hours": everything}.items()}
    return result


def _rows(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in part["networks"].values() if row.get("passes_ms")]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return shares within ±10 and ±20 %, rank correlation and coverage, before and after the check."""
    measured_ms = np.array([np.median(row["passes_ms"]) for row in rows])  # (n,)
    spread = np.array([max(row["passes_ms"]) / min(row["passes_ms"]) for row in rows]) - 1
    figures: dict[str, Any] = {
        "networks": len(rows),
        "run_to_run": {"median": float(np.median(spread)), "within_10_percent": float(np.mean(spread <= 0.1))},
    }
    for word in ("as_built", "checked"):
        predicted_ms = np.array([row[word]["latency_ms"] for row in rows])
        bounds = np.array([row[word]["interval_ms"] for row in rows])  # (n, 2)
        errors = predicted_ms / measured_ms - 1
        figures[word] = {
            "within_10_percent": float(np.mean(np.abs(errors) <= 0.10)),
            "within_20_percent": float(np.mean(np.abs(errors) <= 0.20)),
            "median_error": float(np.median(errors)),
            "largest_error": float(errors[np.argmax(np.abs(errors))]),
            "spearman": float(spearmanr(predicted_ms, measured_ms).statistic) if len(rows) > 2 else None,
            "inside_interval": float(np.mean((bounds[:, 0] <= measured_ms) & (measured_ms <= bounds[:, 1]))),
        }
    return figures


def _add_cascades(document: dict[str, Any], options: argparse.Namespace) -> None:
    """Compare the cascades that the document lacks with `eetool bench`."""
    for name, (model, side) in CASCADES.items():
        if name in document["cascades"] or (options.only and name not in options.only):
            continue
        folder = Path(tempfile.mkdtemp(prefix="foreign-"))
        try:
            document["cascades"][name] = compare_cascade(options.table, model, side, folder, options.quick)
        finally:
            shutil.rmtree(folder)
        _write(options.output, document)


if __name__ == "__main__":
    sys.exit(main())
