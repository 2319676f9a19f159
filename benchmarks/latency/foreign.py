"""Estimates of 40 published architectures that no probe was made after, against measurement: one JSON document.

    python benchmarks/latency/foreign.py my.json -o foreign.json --hour morning
    python benchmarks/latency/foreign.py my.json -o foreign.json --hour evening    # two hours later, adds to it
    python benchmarks/latency/foreign.py my.json -o foreign.json --variant tflite/fp32 --hour morning

Networks are measured in the protocol of probes, a few interleaved, in passes minutes apart. Before each pass the table
is checked (`eetool table check`), and every network is estimated with the table as it was built and as that check
corrected it: a server's speed changes within minutes. The median over passes counts, and the difference of the passes
is the run-to-run spread that limits every estimate. Each group of networks is written when it is measured, so an
interrupted hour resumes where it was. `--cascades` adds two cascades at 224 px against `eetool bench`. Figures over all
hours are in `summary`, and `--tables` writes those of the page.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foreign_cascades import CASCADES, compare_cascade
from foreign_files import write_variant
from foreign_networks import NETWORKS
from foreign_summary import VARIANTS, summaries
from foreign_tables import write_tables
from table import measure

from eetool.latency.check.correction import check_remarks, correct_profile
from eetool.latency.check.table_check import TableCheck, check_table, require_machine
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.latency.estimate.predictor import Prediction, Predictor, predict
from eetool.latency.probes.probe_files import ProbeKind
from eetool.latency.table.hw_profile import HwProfile, read_profile
from eetool.latency.table.table import BACKENDS
from eetool.profile.local_runner import run_measure
from eetool.records import write_atomic
from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_runtime.records import decode

_SCHEMA = "foreign/2"
_GROUP = 4  # networks that are measured before the document is written


def main() -> int:
    """Measure what one hour of the document lacks, and summarise all hours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, help="a hw profile of this machine with reference probes")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--hour", required=True, metavar="NAME", help="name of this hour, such as morning")
    parser.add_argument("--variant", default=VARIANTS[0], choices=VARIANTS)
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
        if document.get("schema") != _SCHEMA:
            raise SystemExit(f"error: {path} is not of the schema {_SCHEMA}. Give another --output.")
        return document
    return {"schema": _SCHEMA, "machine": encode(read_machine()), "hours": {}, "cascades": {}, "summary": {}}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode(), force=True)


def _add_hour(document: dict[str, Any], profile: HwProfile, options: argparse.Namespace) -> None:
    """Measure the networks that an hour lacks, each pass after a check, and estimate them."""
    kind = ProbeKind(*options.variant.split("/"))
    names = options.only or (_QUICK if options.quick else list(NETWORKS))
    runs, passes = (10, 2) if options.quick else (options.runs, options.passes)
    hour = document["hours"].setdefault(options.hour, {}).setdefault(options.variant, {"checks": [], "networks": {}})
    paths = {name: write_variant(options.networks, name, kind) for name in names}
    found = {name: path for name, path in paths.items() if path is not None}
    for name in names:
        new = {"passes_ms": [], "checks": []} if name in found else {"left_out": f"it cannot be written as {kind.name}"}
        hour["networks"].setdefault(name, new)
    for number in range(passes):
        waiting = [name for name in found if len(hour["networks"][name]["passes_ms"]) == number]
        if waiting:
            hour["checks"].append(_check(profile, kind))
        while waiting:
            group, waiting = waiting[:_GROUP], waiting[_GROUP:]
            for name, ms in zip(group, measure([found[name] for name in group], kind, runs), strict=True):
                hour["networks"][name]["passes_ms"].append(float(ms))
                hour["networks"][name]["checks"].append(len(hour["checks"]) - 1)
            _write(options.output, document)
            sys.stderr.write(f"{options.hour} {options.variant}: pass {number + 1}, {len(waiting)} networks left\n")
    _add_estimates(hour, profile, kind, found)


def _add_estimates(hour: dict[str, Any], profile: HwProfile, kind: ProbeKind, paths: Mapping[str, Path]) -> None:
    """Estimate networks with the table as it was built, and as it was corrected before each of their passes."""
    tables = [profile, *(correct_profile(profile, decode(TableCheck, c["check"], ValueError)) for c in hour["checks"])]
    predictors = [Predictor(table, BACKENDS[kind.format], kind.precision, 1) for table in tables]
    for name, path in paths.items():
        row = hour["networks"][name]
        target = target_of_variant(path, kind.name, predictors[0].channel_block)
        row["as_built"], *checked = (_estimate(predict(target, predictor)) for predictor in predictors)
        row["checked"] = [checked[index] for index in row["checks"]]


_QUICK = ["mobilenet-v1-025-128", "bert-tiny-128", "mixer-slim-96", "two-streams-96"]


def _check(profile: HwProfile, kind: ProbeKind) -> dict[str, Any]:
    """Check the table, and return what was found and the load."""
    check = check_table(profile, [(BACKENDS[kind.format], kind.precision, 1)], run_measure)
    return {"load": os.getloadavg()[0], "remarks": list(check_remarks(check)), "check": encode(check)}


def _estimate(prediction: Prediction) -> dict[str, Any]:
    """Return the figures of a network of one graph."""
    cost: GraphCost = prediction.graphs[0]
    return {
        "latency_ms": cost.latency_ms,
        "interval_ms": list(cost.interval_ms),
        "measured_share": cost.measured_share,
        "guessed_share": sum(row.share for row in prediction.coverage if row.basis == "guessed"),
        "unknown_operators": list(cost.unknown_operators),
    }


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
