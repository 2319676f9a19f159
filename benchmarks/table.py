"""Predicted against measured on this machine: one JSON document on stdout.

    python benchmarks/table.py [--table my.json] [--set development] [--set held-out] [--variant onnx/int8] [--cascade]

Takes a hw profile made by `eetool profile --build-table`, or builds one. Networks that are not in it are predicted,
and measured in the same run, twice, some time apart. The smaller of the two medians counts, as it holds less of other
work; how far the two differ is the spread that no prediction can be better than. `--cascade` trains, tunes and exports
small early-exit networks, and holds the predicted mean latency of their operating points against what `eetool bench`
measures.
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
    """Build or take the table, predict, measure, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", type=Path, help="a hw profile of this machine; by default one is built")
    parser.add_argument("--set", action="append", choices=SETS, help="by default held-out")
    parser.add_argument("--networks", type=Path, help="folder that keeps the exported networks for another run")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FROM", "TO"), help="of the random networks")
    parser.add_argument(
        "--variant", action="append", default=[], help="onnx/int8, tflite/fp32 or tflite/int8; repeatable"
    )
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--cascade", action="store_true")
    options = parser.parse_args()
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        table = options.table or built(Path(folder))
        profile = read_profile(table)
        document: dict[str, Any] = {"schema": "table/1", "entries": len(profile.table), "load_before": before}
        seeds = range(*options.seeds) if options.seeds else ()
        for which in options.set or ([] if options.variant or options.cascade else ["held-out"]):
            paths = list(write_networks(which, options.networks or Path(folder), seeds))
            document[which] = compared(profile, paths, ProbeKind(), options.runs)
        for variant in options.variant:
            kind = ProbeKind(*variant.split("/"))
            paths = list(write_variants(Path(folder), kind, seeds or range(200, 208)))
            document[variant] = compared(profile, paths, kind, options.runs)
        if options.cascade:
            document["cascades"] = [cascade(table, model, exits, Path(folder)) for model, exits in _CASCADES]
    document["load_after"] = os.getloadavg()
    print(json.dumps(document, indent=2))
    return 0


def built(folder: Path) -> Path:
    """A table of this machine, made as a user would."""
    path = folder / "host.json"
    run("profile", "--build-table", "-o", path)
    return path


def compared(profile: HwProfile, paths: Sequence[Path], kind: ProbeKind, runs: int) -> dict[str, Any]:
    """Figures of one set of networks."""
    predictor = Predictor(profile, BACKENDS[kind.format], kind.precision, 1)
    subjects = [target_of_variant(path, kind.name, predictor.channel_block) for path in paths]
    predicted = [predict(subject, predictor).graphs[0] for subject in subjects]
    first, second = measured(paths, kind, runs), measured(paths, kind, runs)  # (n,) ms each
    real = np.minimum(first, second)
    guess = np.array([cost.latency_ms for cost in predicted])
    inside = [low <= ms <= high for (low, high), ms in zip((c.interval_ms for c in predicted), real, strict=True)]
    rows = [
        {"network": path.stem, "macs": cost.macs, "measured_ms": ms, "again": again, "ratio": cost.latency_ms / ms}
        | {"predicted_ms": cost.latency_ms, "interval_ms": cost.interval_ms, "measured_share": cost.measured_share}
        for path, cost, ms, again in zip(paths, predicted, real, np.maximum(first, second) / real, strict=True)
    ]
    return {
        "networks": len(paths),
        "within_10_percent": float(np.mean(np.abs(guess / real - 1) <= 0.10)),
        "within_20_percent": float(np.mean(np.abs(guess / real - 1) <= 0.20)),
        "median_error": float(np.median(np.abs(guess / real - 1))),
        "spearman": float(spearmanr(guess, real).statistic),
        "inside_interval": float(np.mean(inside)),
        "warnings": predictor.book.warnings,
        "run_to_run": {
            "median": float(np.median(np.maximum(first, second) / real - 1)),
            "within_10_percent": float(np.mean(np.maximum(first, second) / real - 1 <= 0.10)),
        },
        "rows": rows,
    }


def measured(paths: Sequence[Path], kind: ProbeKind, runs: int) -> np.ndarray:
    """(n,) median milliseconds, a few networks taking turns, in a process of its own as probes are.

    In this one, which torch has filled, the same graphs take up to 15 % longer: their weights lie in scattered pages.
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
    """Predicted and measured mean latency of every operating point of one tuned network."""
    net, tuned, bundle = (folder / f"{model}{suffix}" for suffix in (".pt", ".tuned.pt", ".eebundle"))
    run("train", model, "--data", "digits", "--exits", exits, "--epochs", 3, "-o", net)
    run("tune", net, "--data", "digits", "--max-accuracy-drop", 4, "-o", tuned)
    run("export", tuned, "-o", bundle)
    said = run("profile", bundle, "--device", table, "--threads", 1, "--json")
    bench = run("bench", bundle, "--data", "digits", "--threads", 1, "--json")
    real = {point["name"]: point["latency_ms"]["mean"] for point in bench["points"]}
    guess = {mean["operating_point"]: mean["latency_ms"] for mean in said["means"]}
    rows = [
        {"point": point, "predicted_ms": ms, "measured_ms": real[point], "ratio": ms / real[point]}
        for point, ms in guess.items()
    ]
    return {"model": model, "points": rows, "largest_error": max(abs(row["ratio"] - 1) for row in rows)}


def run(*arguments: object) -> Any:
    """An eetool command in a process of its own; its document where it prints one."""
    words = [str(word) for word in arguments]
    done = subprocess.run([sys.executable, "-m", "eetool", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"eetool {' '.join(words)} ended with {done.returncode}")
    return json.loads(done.stdout) if "--json" in words else None


if __name__ == "__main__":
    sys.exit(main())
