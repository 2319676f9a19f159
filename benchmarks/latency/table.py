"""Predicted against measured latency on this machine: one JSON document on stdout.

    python benchmarks/latency/table.py [--table my.json] [--set held-out] [--variant onnx/int8] [--cascade]

Takes a hw profile made by `eetool table build`, or builds one. Networks outside the table are predicted, and
measured twice in the same run, some time apart. The smaller of the two medians counts, as it holds less interference.
The difference of the two is the spread that limits any prediction. `--cascade` trains, tunes and exports small
early-exit networks, and compares the predicted mean latency of their operating points with that of `eetool bench`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from table_networks import SETS, write_networks, write_variants

from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.latency.estimate.predictor import Predictor, predict
from eetool.latency.probes.probe_files import ProbeKind
from eetool.latency.table.hw_profile import HwProfile, read_profile
from eetool.latency.table.table import BACKENDS
from eetool.profile.local_runner import run_measure
from eetool.records import canonical
from eetool_measure.probe_timing import PROBES, SCHEMA, Probe, Probes, ProbeTimes

_CASCADES = (("resnet20", 3), ("mobilenetv2", 2), ("vgg11", 2))


def main() -> int:
    """Build or read the table, predict, measure and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", type=Path, help="a hw profile of this machine; by default one is built")
    parser.add_argument("--set", action="append", choices=SETS, help="by default held-out")
    parser.add_argument("--networks", type=Path, help="folder that keeps the exported networks for another run")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FROM", "TO"), help="seeds of the random networks")
    parser.add_argument(
        "--variant", action="append", default=[], help="onnx/int8, tflite/fp32 or tflite/int8; repeatable"
    )
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--cascade", action="store_true")
    options = parser.parse_args()
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        table = options.table or build_table(Path(folder))
        profile = read_profile(table)
        document: dict[str, Any] = {"schema": "table/1", "entries": len(profile.table), "load_before": before}
        seeds = range(*options.seeds) if options.seeds else ()
        for which in options.set or ([] if options.variant or options.cascade else ["held-out"]):
            paths = list(write_networks(which, options.networks or Path(folder), seeds))
            document[which] = compare(profile, paths, ProbeKind(), options.runs)
        for variant in options.variant:
            kind = ProbeKind(*variant.split("/"))
            paths = list(write_variants(Path(folder), kind, seeds or range(200, 208)))
            document[variant] = compare(profile, paths, kind, options.runs)
        if options.cascade:
            document["cascades"] = [cascade(table, model, exits, Path(folder)) for model, exits in _CASCADES]
    document["load_after"] = os.getloadavg()
    print(json.dumps(document, indent=2))
    return 0


def build_table(folder: Path) -> Path:
    """Build a table of this machine with the command that a user types."""
    path = folder / "host.json"
    run("table", "build", "-o", path)
    return path


def compare(profile: HwProfile, paths: Sequence[Path], kind: ProbeKind, runs: int) -> dict[str, Any]:
    """Compare predicted and measured latency of one set of networks."""
    predictor = Predictor(profile, BACKENDS[kind.format], kind.precision, 1)
    subjects = [target_of_variant(path, kind.name, predictor.channel_block) for path in paths]
    predictions = [predict(subject, predictor) for subject in subjects]
    predicted = [prediction.graphs[0] for prediction in predictions]
    first, second = measure(paths, kind, runs), measure(paths, kind, runs)  # (n,) ms each
    measured_ms = np.minimum(first, second)
    predicted_ms = np.array([cost.latency_ms for cost in predicted])
    inside = [
        low <= ms <= high for (low, high), ms in zip((c.interval_ms for c in predicted), measured_ms, strict=True)
    ]
    rows = [
        {"network": path.stem, "macs": cost.macs, "measured_ms": ms, "again": again, "ratio": cost.latency_ms / ms}
        | {"predicted_ms": cost.latency_ms, "interval_ms": cost.interval_ms, "measured_share": cost.measured_share}
        for path, cost, ms, again in zip(
            paths, predicted, measured_ms, np.maximum(first, second) / measured_ms, strict=True
        )
    ]
    return {
        "networks": len(paths),
        "within_10_percent": float(np.mean(np.abs(predicted_ms / measured_ms - 1) <= 0.10)),
        "within_20_percent": float(np.mean(np.abs(predicted_ms / measured_ms - 1) <= 0.20)),
        "median_error": float(np.median(np.abs(predicted_ms / measured_ms - 1))),
        "spearman": float(spearmanr(predicted_ms, measured_ms).statistic),
        "inside_interval": float(np.mean(inside)),
        "warnings": sorted({text for prediction in predictions for text in prediction.warnings}),
        "run_to_run": {
            "median": float(np.median(np.maximum(first, second) / measured_ms - 1)),
            "within_10_percent": float(np.mean(np.maximum(first, second) / measured_ms - 1 <= 0.10)),
        },
        "rows": rows,
    }


def measure(paths: Sequence[Path], kind: ProbeKind, runs: int) -> np.ndarray:
    """Return median milliseconds (n,), a few networks interleaved, in a separate process as for probes.

    In this process, which has loaded torch, the same graphs take up to 15 % longer: their weights lie in scattered
    pages.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for path in paths:
            shutil.copy2(path, temporary)
        probes = tuple(Probe(path.stem, path.name) for path in paths)
        (Path(temporary) / PROBES).write_text(canonical(Probes(SCHEMA, kind.format, kind.precision, probes)))
        options = {"--threads": 1, "--runs": runs, "--min-seconds": 0}
        times = run_measure(ProbeTimes, Path(temporary), options)
    return np.array([probe.latency_ms.median for probe in times.probes])


def cascade(table: Path, model: str, exits: int, folder: Path) -> dict[str, Any]:
    """Return predicted and measured mean latency of every operating point of one tuned network."""
    net, tuned, bundle = (folder / f"{model}{suffix}" for suffix in (".pt", ".tuned.pt", ".eebundle"))
    run("train", model, "--data", "digits", "--exits", exits, "--epochs", 3, "-o", net)
    run("tune", net, "--data", "digits", "--max-accuracy-drop", 4, "-o", tuned)
    run("export", tuned, "-o", bundle)
    prediction = run("profile", bundle, "--device", table, "--threads", 1, "--json")
    bench = run("bench", bundle, "--data", "digits", "--threads", 1, "--json")
    measured = {point["name"]: point["latency_ms"]["mean"] for point in bench["ways"]}
    predicted = {mean["operating_point"]: mean["latency_ms"] for mean in prediction["means"]}
    rows = [
        {"point": point, "predicted_ms": ms, "measured_ms": measured[point], "ratio": ms / measured[point]}
        for point, ms in predicted.items()
    ]
    return {"model": model, "points": rows, "largest_error": max(abs(row["ratio"] - 1) for row in rows)}


def run(*arguments: object) -> Any:
    """Run an eetool command in a separate process; return its document if it prints one."""
    words = [str(word) for word in arguments]
    done = subprocess.run([sys.executable, "-m", "eetool", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"eetool {' '.join(words)} ended with {done.returncode}")
    return json.loads(done.stdout) if "--json" in words else None


if __name__ == "__main__":
    sys.exit(main())
