"""Share of calls that overrun their deadline while two other processes are busy: one JSON document.

    python benchmarks/runtime/deadline.py model.eebundle --calls 5000

Deadlines alternate between the latency of the first exit and that of full depth. An overrun counts if it is longer than
the 99th percentile of the slowest component, because a running component is not interrupted. All times, including that
percentile, are measured while the other processes run. Thresholds never fire. This is the hardest case: only the
deadline ends a call.
"""

import argparse
import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_runtime.backends import Threads, backend_for
from eetool_runtime.loading import open_graphs
from eetool_runtime.manifest import NEVER, scalars

SHARES = (0.4, 0.6, 0.8, 1.0, 1.2)  # of the median at full depth


def main() -> int:
    """Measure the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--calls", type=int, default=1000, help="calls with a deadline; 5,000 for published figures")
    parser.add_argument("--busy", type=int, default=2, help="processes that keep the processor busy")
    options = parser.parse_args()
    stop = multiprocessing.Event()
    busy = [multiprocessing.Process(target=keep_busy, args=(stop,), daemon=True) for _ in range(options.busy)]
    for process in busy:
        process.start()
    try:
        figures = measure(ee.load(options.bundle, threads=1), options.calls)
    except ee.EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    finally:
        stop.set()
        for process in busy:
            process.join()
    document = {"schema": "deadline/1", "busy_processes": options.busy, **figures, "machine": encode(read_machine())}
    print(json.dumps(document, indent=2))
    return 0


def keep_busy(stop: Event) -> None:
    """Compute until `stop` is set."""
    number = 0
    while not stop.is_set():
        for _ in range(100_000):
            number = (number * 7 + 1) % 1_000_003


def measure(model: ee.Model, calls: int) -> dict[str, Any]:
    """Time calls with deadlines, alternating with every component alone under the same load."""
    samples = model.bundle.arrays(model.bundle.manifest.samples)
    x = {name: array[:1] for name, array in samples.items()}
    model.use(threshold=NEVER)
    full_ms = float(np.median([model(x).latency_ms for _ in range(200)]))
    alone = ComponentTimes(model, x)
    over_ms: dict[float, list[float]] = {share: [] for share in SHARES}
    exits: dict[float, list[int]] = {share: [] for share in SHARES}
    for call in range(calls):
        share = SHARES[call % len(SHARES)]
        start = time.perf_counter_ns()
        result = model(x, deadline_ms=share * full_ms)
        over_ms[share].append((time.perf_counter_ns() - start) / 1e6 - share * full_ms)
        exits[share].append(result.exit)
        alone.run_once()
    slowest = max(alone.times_ms, key=lambda name: np.percentile(alone.times_ms[name], 99))
    allowed_ms = float(np.percentile(alone.times_ms[slowest], 99))
    every = np.concatenate([np.array(values) for values in over_ms.values()])
    return {
        "bundle": model.bundle.manifest.name,
        "variant": model.variant,
        "calls": calls,
        "full_depth_median_ms": full_ms,
        "components_ms": {
            name: {"median": float(np.median(times)), "p99": float(np.percentile(times, 99))}
            for name, times in alone.times_ms.items()
        },
        "slowest_component": slowest,
        "share_over_by_more_than_slowest_p99": float((every > allowed_ms).mean()),
        "share_over_at_all": float((every > 0).mean()),
        "worst_overrun_ms": float(every.max()),
        "by_deadline": [
            {
                "deadline_ms": share * full_ms,
                "share_over_by_more_than_slowest_p99": float((np.array(over_ms[share]) > allowed_ms).mean()),
                "share_over_at_all": float((np.array(over_ms[share]) > 0).mean()),
                "mean_exit": float(np.mean(exits[share])),
            }
            for share in SHARES
        ],
    }


class ComponentTimes:
    """Latency of every component alone, with the inputs that it has at full depth."""

    def __init__(self, model: ee.Model, x: dict[str, np.ndarray]) -> None:
        m, fitted = model.bundle.manifest, model.bundle.variant(model.variant)
        graphs = open_graphs(model.bundle, model.variant, backend_for(model.variant.split("/")[0]), Threads())
        tensors = dict(x)
        tensors.update({name: np.array(value, np.float32) for name, value in scalars(m, fitted).items()})
        self._steps = []
        for c in m.components:
            graph = graphs[c.name]
            feed = {name: tensors[name] for name in graph.inputs}
            tensors.update(zip(graph.outputs, graph.run(feed), strict=True))
            self._steps.append((c.name, graph.run, feed))
        self.times_ms: dict[str, list[float]] = {name: [] for name, _, _ in self._steps}

    def run_once(self) -> None:
        """Time each component once."""
        for name, run, feed in self._steps:
            start = time.perf_counter_ns()
            run(feed)
            self.times_ms[name].append((time.perf_counter_ns() - start) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
