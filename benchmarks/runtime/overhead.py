"""Overhead of the split and of the runtime for one bundle at 1 and 2 threads: one JSON document on stdout.

    python benchmarks/runtime/overhead.py model.eebundle
    python benchmarks/runtime/overhead.py model.eebundle --native build/native/overhead

With `--native`, the program of the native runtime (`runtimes/cpp`, target `overhead`) measures the same subjects, and
the library of the installed onnxruntime runs the graphs.

All subjects of a thread count are interleaved in one process (docs/measuring.md), and ratios are formed per round.
The memory layout of a process moves such a ratio by a percent, so several processes are measured. Every figure gives
the median of each process and the median of those.

`in_turn` calls all components one after the other on the arrays of a cascade, without the runtime. Its ratio to one
graph with all exits is the overhead of the split; the ratio of the cascade to it is the overhead of the runtime.
`least K` is the minimum work of any runtime that leaves at exit K: check the input for NaN, bind it and call the
components in turn. The sum of the components, each timed alone, is smaller if a component alone keeps its caches.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from eetool_measure.bundle_timing import MIN_SECONDS, RUNS, graphs_and_subjects
from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_measure.results import COMPONENT, EXIT, FULL, REFERENCE, components_run
from eetool_measure.timing import Subject, interleave, per_round, translate_errors
from eetool_runtime import EarlyExitError, open_bundle
from eetool_runtime.backends import PROCESS, Threads, backend_for
from eetool_runtime.execution_contexts import ContextPool
from eetool_runtime.manifest import Manifest, scalars
from eetool_runtime.preprocess import is_finite

THREADS = (1, 2)
ALLOWED_RATIO, ALLOWED_US = (
    1.03,
    12,
)  # for leaving at an exit: factor on the sum of its components, and µs for each of them

Rounds = dict[str, np.ndarray]  # milliseconds per round, by subject


def main() -> int:
    """Measure the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", help="by default the bundle's first")
    parser.add_argument("--runs", type=int, default=RUNS, help="least runs of every subject in a process")
    parser.add_argument("--min-seconds", type=float, default=2 * MIN_SECONDS, help="least seconds per process")
    parser.add_argument("--processes", type=int, default=3, help="per thread count")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument("--native", type=Path, metavar="PROGRAM", help="measure the native runtime with this program")
    parser.add_argument("--child", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        m = open_bundle(options.bundle).manifest
        variant = options.variant or next(iter(m.variants))
        if options.child is not None:
            how = measure if options.native is None else partial(measure_native, options.native)
            print(json.dumps(how(options.bundle, variant, options.child, options.runs, options.min_seconds)))
            return 0
    except EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    results = []
    for threads in options.threads:
        children = [
            subprocess.run([sys.executable, "-P", *sys.argv, "--child", str(threads)], stdout=subprocess.PIPE)
            for _ in range(options.processes)
        ]
        if any(child.returncode for child in children):
            return max(child.returncode for child in children)
        results.append({"threads": threads, **figures(m, [json.loads(child.stdout) for child in children])})
    backend = backend_for(variant.split("/")[0])
    document = {
        "schema": "overhead/2",
        "bundle": m.name,
        "variant": variant,
        "runtime": "python" if options.native is None else "native",
        "processes": options.processes,
        "threads": results,
        "machine": encode(read_machine(backend.name, backend.version)),
    }
    print(json.dumps(document, indent=2))
    return 0


def measure(path: Path, variant: str, threads: int, runs: int, min_seconds: float) -> dict[str, Any]:
    """Return the milliseconds per round of every subject, and the thread pool of the graphs."""
    bundle = open_bundle(path)
    graphs, subjects, inputs = graphs_and_subjects(bundle, variant, Threads(threads, PROCESS))
    m = bundle.manifest
    constants = {name: np.array(v, np.float32) for name, v in scalars(m, bundle.variant(variant)).items()}
    contexts = ContextPool(m, variant, list(graphs.values()), constants)
    context = contexts.acquire()
    contexts.release(context)  # the cascade uses the same graphs, and no two calls run concurrently here
    context.enter(inputs[0])
    calls = {c.name: translate_errors(call) for c, call in zip(m.components, context.calls, strict=True)}

    def least(index: int) -> Subject:
        taken = [calls[name] for name in components_run(m, index)]

        def call_in_turn(number: int) -> None:
            given = inputs[number % len(inputs)]
            if not all(map(is_finite, given.values())):
                raise SystemExit("a sample input holds NaN")
            context.enter(given)
            for call in taken:
                call()

        return call_in_turn

    subjects["in_turn", ""] = lambda _: [call() for call in calls.values()]
    for index in range(len(m.exits)):
        subjects["least", str(index)] = least(index)
    times = interleave(subjects, runs=runs, min_seconds=min_seconds, seed=0)
    rounds = {" ".join(key).strip(): per_round(taken).tolist() for key, taken in times.items()}
    return {"pool": next(iter(graphs.values())).threads.pool, "rounds": rounds}


def measure_native(
    program: Path, path: Path, variant: str, threads: int, runs: int, min_seconds: float
) -> dict[str, Any]:
    """Return the same of the native runtime, as its benchmark program prints it; exits with its code where it fails."""
    bundle = open_bundle(path)
    arrays = bundle.arrays(bundle.manifest.samples)
    libraries = sorted(Path(onnxruntime_folder(), "capi").glob("libonnxruntime.so.*"))
    environment = {"EETOOL_ONNXRUNTIME": str(libraries[0])} if libraries else {}
    with TemporaryDirectory() as folder:
        inputs = []
        for spec in bundle.manifest.inputs:
            np.ascontiguousarray(arrays[spec.name]).tofile(Path(folder, spec.name))
            inputs.append(f"{spec.name}={Path(folder, spec.name)}")
        command = [program, path, variant, threads, runs, min_seconds, *inputs]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, env={**environment, **os.environ})
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def onnxruntime_folder() -> str:
    """Return the folder of the installed onnxruntime."""
    spec = find_spec("onnxruntime")
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else ""


def figures(m: Manifest, processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one thread count; overheads of split and runtime are separate."""
    rounds = [{name: np.array(taken) for name, taken in p["rounds"].items()} for p in processes]
    unsplit, all_exits = f"{REFERENCE} unsplit", f"{REFERENCE} all_exits"
    cascade, least, count = f"{EXIT} {m.n_early_exits}", f"least {m.n_early_exits}", len(m.components)

    def ratio(above: str, below: str) -> dict[str, Any] | None:
        return across([r[above] / r[below] for r in rounds]) if below in rounds[0] else None

    def each_us(above: str, below: str) -> dict[str, Any] | None:
        return across([(r[above] - r[below]) / count * 1e3 for r in rounds]) if below in rounds[0] else None

    for r in rounds:
        r["sum"] = alone(r, [c.name for c in m.components])
    return {
        "pool": processes[0]["pool"],
        "ms": {name: across([r[name] for r in rounds]) for name in rounds[0]},
        "ratios": {
            "split: in turn / all exits": ratio("in_turn", all_exits),
            "least: checked, handed over, in turn / all exits": ratio(least, all_exits),
            "runtime: cascade / in turn": ratio(cascade, "in_turn"),
            "runtime: cascade / least": ratio(cascade, least),
            "both: cascade / all exits": ratio(cascade, all_exits),
            "components alone / all exits": ratio("sum", all_exits),
            "cascade with heads skipped / unsplit": ratio(FULL[0], unsplit),
        },
        "us_per_component": {
            "split: in turn - all exits": each_us("in_turn", all_exits),
            "runtime: cascade - in turn": each_us(cascade, "in_turn"),
            "cascade - components alone": each_us(cascade, "sum"),
        },
        "exits": [leaving(m, index, rounds) for index in range(len(m.exits))],
    }


def leaving(m: Manifest, index: int, rounds: Sequence[Rounds]) -> dict[str, Any]:
    """Compare the cascade that leaves at an exit with its components alone and with the allowed latency."""
    names, cascade = components_run(m, index), f"{EXIT} {index}"
    sums = [alone(r, names) for r in rounds]
    allowed = [ALLOWED_RATIO * s + ALLOWED_US * len(names) / 1e3 for s in sums]
    return {
        "exit": index,
        "cascade / components alone": across([r[cascade] / s for r, s in zip(rounds, sums, strict=True)]),
        "cascade / allowed": across([r[cascade] / a for r, a in zip(rounds, allowed, strict=True)]),
        "least / allowed": across([r[f"least {index}"] / a for r, a in zip(rounds, allowed, strict=True)]),
        "cascade - components, us each": across(
            [(r[cascade] - s) / len(names) * 1e3 for r, s in zip(rounds, sums, strict=True)]
        ),
    }


def alone(rounds: Rounds, names: Sequence[str]) -> np.ndarray:
    """Return the summed milliseconds per round of components that were each timed alone."""
    total: np.ndarray = np.sum([rounds[f"{COMPONENT} {name}"] for name in names], axis=0)
    return total


def across(processes: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the median of each process, and the median of those."""
    each = [float(np.median(values)) for values in processes]
    return {"median": round(median(each), 5), "processes": [round(value, 5) for value in each]}


if __name__ == "__main__":
    sys.exit(main())
