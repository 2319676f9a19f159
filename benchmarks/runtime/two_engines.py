"""Do ONNX Runtime and LiteRT disturb each other in one process? One JSON document on stdout.

    python benchmarks/runtime/two_engines.py four.eebundle

The bundle holds variants of both formats. Three processes take turns over pipes, so that only one computes at a time:
one holds the unsplit graph of the ONNX variant, one that of the TFLite variant, and one holds both and alternates
between them. Each turn is one untimed call and a block of timed ones, as in `eetool bench`. The ratio of a graph beside
the other engine to the same graph alone is formed per round, from the medians of the blocks. The memory layout of a
process moves such a ratio by a percent, so there are several sets of processes.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_measure.timing import bind_to, spread
from eetool_runtime import open_bundle
from eetool_runtime.backends import PROCESS, Threads, backend_for

BLOCK = 20
BOTH = "both"


def main() -> int:
    """Measure the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--processes", type=int, default=3, help="sets of processes")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _serve(options.bundle, options.child, options.threads[0])
    variants = [f"{kind}/{options.precision}" for kind in ("onnx", "tflite")]
    results = {
        str(threads): [_measure(options.bundle, variants, threads, options.rounds) for _ in range(options.processes)]
        for threads in options.threads
    }
    summary = {
        threads: {variant: round(median(one[variant]["ratio"] for one in sets), 4) for variant in variants}
        for threads, sets in results.items()
    }
    document = {"beside_over_alone": summary, "sets": results, "machine": encode(read_machine())}
    print(json.dumps(document, indent=2))
    return 0


def _measure(bundle: Path, variants: list[str], threads: int, rounds: int) -> dict[str, Any]:
    """Return per variant the ratio of its graph in the process of both to its graph alone, and its 95 % interval."""
    children = {name: _start(bundle, [name], threads) for name in variants} | {BOTH: _start(bundle, variants, threads)}
    turns = [(name, name) for name in variants] + [(BOTH, name) for name in variants]
    times: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
    try:
        for number in range(rounds + 3):
            random.Random(number).shuffle(turns)
            for child, name in turns:
                milliseconds = _ask(children[child], name)
                if number >= 3:  # warm by then
                    times[child, name].append(milliseconds)
    finally:
        for process in children.values():
            process.communicate("")
    figures = {}
    for name in variants:
        ratio = spread(np.array(times[BOTH, name]) / np.array(times[name, name]))
        alone = round(median(times[name, name]), 4)
        figures[name] = {"ratio": ratio.median, "ratio_ci95": ratio.ci95, "alone_ms": alone}
    return figures


def _start(bundle: Path, variants: list[str], threads: int) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, str(bundle), "--threads", str(threads), "--child", *variants]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _ask(process: "subprocess.Popen[str]", name: str) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def _serve(path: Path, variants: list[str], threads: int) -> int:
    """Answer each name of a variant on standard input with the median milliseconds of a block of its calls."""
    bundle = open_bundle(path)
    calls = {}
    for name in variants:
        graph_path = bundle.file(bundle.variant(name).references["unsplit"])
        graph = backend_for(name.split("/")[0]).open(graph_path, Threads(threads, PROCESS))
        shapes = {key: [1 if isinstance(size, str) else size for size in t.shape] for key, t in graph.inputs.items()}
        calls[name] = bind_to(graph, {key: np.ones(shape, np.float32) for key, shape in shapes.items()})[0].call
    for line in sys.stdin:
        call, times = calls[line.strip()], []
        call()
        for _ in range(BLOCK):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
        print(median(times) / 1e6, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
