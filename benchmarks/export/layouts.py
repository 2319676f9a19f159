"""Latency at every exit and memory of one model in all layouts: one JSON document on stdout.

    python benchmarks/export/layouts.py model.pt

`bundle` has separate heads; `joined` is the bundle of `--merge all`. `nested` is the file of `export --layout single`,
with each weight in the branch that uses it; `hoisted` is the same graph with all weights in the top graph. Latencies
are medians at batch 1 on one thread, interleaved in one process; every gate before the exit runs and does not fire.
Memory is measured in one process per subject: the resident set after loading and some full-depth calls, and its peak.
A process that loads nothing is measured for comparison.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eetool.errors import EarlyExitError
from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_measure.results import thresholds_to_leave_at
from eetool_measure.timing import Subject, interleave, latency, per_round, spread
from eetool_runtime import load, open_bundle
from eetool_runtime.backends import Threads, open_graph
from eetool_runtime.backends.onnx import BACKEND
from eetool_runtime.manifest import NEVER, scalars

BUNDLE, JOINED, NESTED, HOISTED = "bundle.eebundle", "joined.eebundle", "nested.onnx", "hoisted.onnx"
LAYOUTS = ("bundle", "joined", "nested", "hoisted")
NOTHING = "nothing"
MEMORY_OF = (NOTHING, "unsplit", "all_exits", *LAYOUTS)


def main() -> int:
    """Export the model of the command line in all layouts, measure them and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a model.pt; with --child, the folder to measure")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--min-seconds", type=float, default=10.0)
    parser.add_argument(
        "--cpu-time", action=argparse.BooleanOptionalAction, help="processor time, for a machine with other load"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    protocol = {"runs": options.runs, "min_seconds": options.min_seconds, "cpu_time": bool(options.cpu_time)}
    if options.child:
        figures = times(options.model, **protocol) if options.child == "times" else memory(options.child, options.model)
        print(json.dumps(encode(figures)))
        return 0
    try:
        print(json.dumps(encode(document(options.model, protocol)), indent=2))
    except EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


def document(model: Path, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return all measurements."""
    from eetool.export.bundle_export import ExportOptions, export_bundle
    from eetool.export.single_file.export import export_single
    from eetool.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_bundle(checkpoint, folder / BUNDLE)
        export_bundle(checkpoint, folder / JOINED, ExportOptions(references=False, merge="all"))
        export_single(checkpoint, folder / NESTED)
        (folder / HOISTED).write_bytes(hoisted(onnx.load(folder / NESTED)).SerializeToString(deterministic=True))
        components = [path.stat().st_size for path in (folder / BUNDLE / "components").rglob("*.onnx")]
        spec = checkpoint.record.spec
        return {
            "schema": "layouts/1",
            "model": f"{spec.backbone}, {len(spec.taps)} early exits",
            "file_bytes": {"single": (folder / NESTED).stat().st_size, "components": sum(components)},
            "protocol": protocol,
            "latency": child("times", folder, protocol),
            "memory": {what: child(what, folder, protocol) for what in MEMORY_OF},
            "machine": read_machine(BACKEND.name, BACKEND.version),
        }


def hoisted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the weights of all branches moved to the top graph."""
    for graph in branches(model.graph):
        model.graph.initializer.extend(graph.initializer)
        del graph.initializer[:]
    return model


def branches(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield all graphs nested in `graph`, at any depth."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
                yield from branches(attribute.g)


def child(what: str, folder: Path, protocol: dict[str, Any]) -> Any:
    """Measure in a separate process without torch."""
    words = [
        str(folder),
        "--child",
        what,
        "--runs",
        str(protocol["runs"]),
        "--min-seconds",
        str(protocol["min_seconds"]),
    ]
    words.append("--cpu-time" if protocol["cpu_time"] else "--no-cpu-time")
    ended = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise EarlyExitError(f"measuring {what} failed: {ended.stderr.strip().splitlines()[-1]}")
    return json.loads(ended.stdout)


def times(folder: Path, runs: int, min_seconds: float, cpu_time: bool) -> dict[str, Any]:
    """Return the latency of every subject, and ratios to the unsplit network and to the cascade of the bundle."""
    m = open_bundle(folder / BUNDLE).manifest
    exits = range(len(m.exits))
    subjects: dict[str, Subject] = {"unsplit": subject("unsplit", folder), "all_exits": subject("all_exits", folder)}
    for what in LAYOUTS:
        subjects.update({f"{what} at exit {i}": subject(what, folder, i) for i in exits})
    clock = time.process_time_ns if cpu_time else time.perf_counter_ns
    measured = interleave(subjects, runs=runs, min_seconds=min_seconds, seed=0, clock=clock)
    rounds = {key: per_round(ns) for key, ns in measured.items()}
    pairs = [(f"{what} at exit {i}", f"bundle at exit {i}") for what in LAYOUTS[1:] for i in exits]
    pairs += [(f"{what} at exit {m.n_early_exits}", "unsplit") for what in LAYOUTS]
    return {
        "median_ms": {key: latency(ns).median for key, ns in measured.items()},
        "ratios": {f"{a} / {b}": spread(rounds[a] / rounds[b]) for a, b in pairs},
        "runs": next(iter(measured.values())).size,
    }


def memory(what: str, folder: Path) -> dict[str, int]:
    """Return the resident set and its peak in bytes, with one subject loaded and used."""
    if what != NOTHING:
        call = subject(what, folder)
        for number in range(10):
            call(number)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"rss_bytes": kib(status["VmRSS"]), "peak_bytes": kib(status["VmHWM"])}


def kib(text: str) -> int:
    """Convert text such as `  1234 kB` to bytes."""
    return int(text.split()[0]) * 1024


def subject(what: str, folder: Path, exit_index: int | None = None) -> Subject:
    """Return a function that runs one subject on the bundle's samples, leaving at `exit_index` or at full depth."""
    bundle = open_bundle(folder / BUNDLE)
    m = bundle.manifest
    variant = next(iter(m.variants))
    thresholds = thresholds_to_leave_at(m, m.n_early_exits if exit_index is None else exit_index)
    samples = bundle.arrays(m.samples)
    inputs = [{name: x[i : i + 1] for name, x in samples.items()} for i in range(8)]
    if what in ("bundle", "joined"):
        model = load(folder / f"{what}.eebundle", variant=variant)
        model.use(threshold=thresholds)
        return lambda number: model(inputs[number % 8])
    if what in LAYOUTS:
        limits = {
            f"exit{i}_threshold": np.array(NEVER if t is None else t, np.float32) for i, t in enumerate(thresholds)
        }
        path, feeds = folder / f"{what}.onnx", [x | limits for x in inputs]
    else:
        path = bundle.file(m.variants[variant].references[what])
        values = scalars(m, m.variants[variant]) if what == "all_exits" else {}
        bound = {name: np.array(value, np.float32) for name, value in values.items()}
        feeds = [x | bound for x in inputs]
    run = open_graph(path, Threads()).run
    return lambda number: run(feeds[number % 8])


if __name__ == "__main__":
    sys.exit(main())
