"""Overhead of the split and of the runtimes for one bundle at 1 and 2 threads: one JSON document on stdout.

    python benchmarks/runtime/overhead.py model.eebundle
    python benchmarks/runtime/overhead.py model.eebundle --native build/native

With `--native`, the native runtime and its bare calls take part (`runtimes/cpp`, target `overhead`), on the libraries
of the installed onnxruntime and ai-edge-litert; and both runtimes load the bundle in processes of their own.

All subjects of a thread count are interleaved in one process (docs/measuring.md), and ratios are formed per round.
The memory layout of a process moves such a ratio by a percent, so several processes are measured. Every figure gives
the median of each process and the median of those.

`in_turn` calls all components one after the other on the arrays of a cascade, without the runtime. Its ratio to one
graph with all exits is the overhead of the split; the ratio of the cascade to it is the overhead of the runtime.
`least K` is the minimum work of any runtime that leaves at exit K: check the input for NaN, bind it and call the
components in turn. The sum of the components, each timed alone, is smaller if a component alone keeps its caches.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
from eetool_runtime.bundle import Bundle
from eetool_runtime.execution_contexts import ContextPool
from eetool_runtime.manifest import Manifest, scalars
from eetool_runtime.preprocess import is_finite

THREADS = (1, 2)
MOST_SAMPLES = 16  # as in eetool_measure
PYTHON, NATIVE = "python", "native"
# For leaving at an exit: factor on the sum of its components, and µs for each of them.
ALLOWED = {PYTHON: (1.03, 12), NATIVE: (1.01, 2)}
# A program that loads a bundle in a new process, as first_answer.cpp does.
FIRST_ANSWER = """
import json, sys, time
import numpy as np
import eetool_runtime as ee
from eetool_runtime.machine import resident_bytes

path, variant, threads, *words = sys.argv[1:]
start = time.perf_counter()
model = ee.load(path, variant=variant, threads=int(threads))
load_ms = 1e3 * (time.perf_counter() - start)
inputs = {}
for spec in model.bundle.manifest.inputs:
    file = dict(word.split("=", 1) for word in words)[spec.name]
    inputs[spec.name] = np.fromfile(file, spec.dtype).reshape(1, *spec.shape[1:])
model(inputs, min_exit=-1)
print(json.dumps([load_ms, resident_bytes()]))
"""

Rounds = dict[str, np.ndarray]  # milliseconds per round, by subject


class Stopwatch:
    """Clock that runs only while a subject does, which makes subjects of two languages alike: each times itself."""

    def __init__(self) -> None:
        self._total_ns = 0

    def __call__(self) -> int:
        """Return the nanoseconds that all subjects took so far."""
        return self._total_ns

    def timed(self, subject: Subject) -> Subject:
        """Return a subject of Python that advances the clock."""

        def call(number: int) -> None:
            start = time.perf_counter_ns()
            subject(number)
            self._total_ns += time.perf_counter_ns() - start

        return call

    def native(self, call: Callable[[int, int], int], index: int) -> Subject:
        """Return subject `index` of the native runtime, which returns nanoseconds, or less than 0 where it fails."""

        def advance(number: int) -> None:
            taken_ns = call(index, number)
            if taken_ns < 0:
                raise SystemExit(5)
            self._total_ns += taken_ns

        return advance


def main() -> int:
    """Measure the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", help="by default the bundle's first")
    parser.add_argument("--runs", type=int, default=RUNS, help="least runs of every subject in a process")
    parser.add_argument("--min-seconds", type=float, default=2 * MIN_SECONDS, help="least seconds per process")
    parser.add_argument("--processes", type=int, default=3, help="per thread count")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument("--native", type=Path, metavar="FOLDER", help="the native runtime, built there, as well")
    parser.add_argument("--child", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        bundle = open_bundle(options.bundle)
        variant = options.variant or next(iter(bundle.manifest.variants))
        if options.child is not None:
            print(json.dumps(measure(bundle, variant, options)))
            return 0
        backend = backend_for(variant.split("/")[0])
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
        processes = [json.loads(child.stdout) for child in children]
        runtimes = {name: figures(bundle.manifest, name, [p[name] for p in processes]) for name in processes[0]}
        results.append({"threads": threads, **runtimes})
    document = {
        "schema": "overhead/3",
        "bundle": bundle.manifest.name,
        "variant": variant,
        "processes": options.processes,
        "threads": results,
        "first_answer": None if options.native is None else first_answers(bundle, variant, options),
        "machine": encode(read_machine(backend.name, backend.version)),
    }
    print(json.dumps(document, indent=2))
    return 0


def measure(bundle: Bundle, variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return by runtime the milliseconds per round of every subject, and the thread pool of the graphs."""
    watch, pools = Stopwatch(), {}
    pools[PYTHON], python = python_subjects(bundle, variant, options.child)
    subjects = {(PYTHON, name): watch.timed(subject) for name, subject in python.items()}
    if options.native is not None:
        library, names = open_native(bundle, variant, options.child, options.native)
        pools[NATIVE] = library.overhead_pool().decode()
        for index, name in enumerate(names):
            subjects[NATIVE, name] = watch.native(library.overhead_call, index)
    times = interleave(subjects, runs=options.runs, min_seconds=options.min_seconds, seed=0, clock=watch)
    rounds: dict[str, dict[str, list[float]]] = {name: {} for name in pools}
    for (runtime, name), taken in times.items():
        rounds[runtime][name] = per_round(taken).tolist()
    return {name: {"pool": pools[name], "rounds": rounds[name]} for name in pools}


def python_subjects(bundle: Bundle, variant: str, threads: int) -> tuple[str, dict[str, Subject]]:
    """Return the pool of the graphs, and the subjects of the Python runtime."""
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
    return next(iter(graphs.values())).threads.pool, {" ".join(key).strip(): call for key, call in subjects.items()}


def open_native(bundle: Bundle, variant: str, threads: int, folder: Path) -> tuple[ctypes.CDLL, list[str]]:
    """Return the library of the native subjects, and their names; exits where it cannot open the bundle."""
    library = ctypes.CDLL(str(folder.resolve() / "overhead.so"))
    library.overhead_pool.restype = ctypes.c_char_p
    library.overhead_name.restype, library.overhead_name.argtypes = ctypes.c_char_p, [ctypes.c_size_t]
    library.overhead_call.restype, library.overhead_call.argtypes = ctypes.c_int64, [ctypes.c_size_t, ctypes.c_size_t]
    os.environ.update(engine_paths())
    with TemporaryDirectory() as inputs:
        words = [str(bundle.path), variant, str(threads), *write_samples(bundle, Path(inputs), MOST_SAMPLES)]
        count = library.overhead_open(len(words), (ctypes.c_char_p * len(words))(*map(str.encode, words)))
    if count < 0:
        raise SystemExit(-count)
    return library, [library.overhead_name(index).decode() for index in range(count)]


def write_samples(bundle: Bundle, folder: Path, most: int) -> list[str]:
    """Write at most so many samples of every input as raw bytes, and return a word `INPUT=FILE` for each."""
    arrays = bundle.arrays(bundle.manifest.samples)
    for spec in bundle.manifest.inputs:
        np.ascontiguousarray(arrays[spec.name][:most]).tofile(folder / spec.name)
    return [f"{spec.name}={folder / spec.name}" for spec in bundle.manifest.inputs]


def engine_paths() -> Mapping[str, str]:
    """Return the environment variables of the native runtime for the engines that are installed here."""
    wanted = {
        "EETOOL_ONNXRUNTIME": ("onnxruntime", "capi/libonnxruntime.so.*"),
        "EETOOL_LITERT": ("ai_edge_litert", "libLiteRt.so"),
    }
    found: dict[str, str] = {}
    for variable, (package, pattern) in wanted.items():
        spec = find_spec(package)
        folders = (spec.submodule_search_locations if spec is not None else None) or []
        libraries = sorted(path for folder in folders for path in Path(folder).glob(pattern))
        if libraries:
            found[variable] = str(libraries[0])
    return {**found, **{name: os.environ[name] for name in wanted if name in os.environ}}


def first_answers(bundle: Bundle, variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the milliseconds of loading at one thread, and the resident bytes after one answer at full depth."""
    starts = {PYTHON: [sys.executable, "-c", FIRST_ANSWER], NATIVE: [str(options.native.resolve() / "first-answer")]}
    measured: dict[str, list[list[float]]] = {name: [] for name in starts}
    with TemporaryDirectory() as folder:
        words = [str(bundle.path), variant, "1", *write_samples(bundle, Path(folder), 1)]
        for _ in range(options.processes + 1):  # the first fills the caches of the disk
            for name, start in starts.items():
                environment = {**os.environ, **engine_paths()}
                done = subprocess.run([*start, *words], stdout=subprocess.PIPE, env=environment)
                if done.returncode != 0:
                    raise SystemExit(done.returncode)
                measured[name].append(json.loads(done.stdout))
    figures: dict[str, Any] = {}
    for index, what in enumerate(("load_ms", "resident_bytes")):
        values = {name: median(run[index] for run in runs[1:]) for name, runs in measured.items()}
        figures[what] = {**values, "native / python": round(values[NATIVE] / values[PYTHON], 4)}
    return figures


def figures(m: Manifest, runtime: str, processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one runtime at one thread count; overheads of split and runtime are separate."""
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
            "runtime: cascade - least": each_us(cascade, least),
            "cascade - components alone": each_us(cascade, "sum"),
        },
        "exits": [leaving(m, index, rounds, *ALLOWED[runtime]) for index in range(len(m.exits))],
    }


def leaving(m: Manifest, index: int, rounds: Sequence[Rounds], factor: float, us_each: float) -> dict[str, Any]:
    """Compare the cascade that leaves at an exit with its components alone and with the allowed latency.

    Args:
        m: the manifest.
        index: of the exit.
        rounds: of each process.
        factor: allowed, on the sum of the components.
        us_each: allowed in addition for each component, in µs.
    """
    names, cascade = components_run(m, index), f"{EXIT} {index}"
    sums = [alone(r, names) for r in rounds]
    allowed = [factor * s + us_each * len(names) / 1e3 for s in sums]
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
