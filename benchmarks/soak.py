"""A long run of one bundle: does memory grow, do answers change, and do threads disturb each other?

    python benchmarks/soak.py model.eebundle --calls 1000000

One thread first makes `--calls` calls; resident memory is read at a tenth of them, when every buffer has its size, and
at the end. Then `--threads` threads make `--calls-per-thread` calls each at the same time. Every single answer, exit,
confidence and logits, is compared bit for bit with the first one to the same input. Prints one JSON document, and
exits with 1 where an answer changed or memory grew by 1 % or more.
"""

import argparse
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_runtime.backends import PRIVATE

MAX_GROWTH = 0.01


class Soak:
    """A model, the inputs it is asked again and again, and its first answer to each."""

    def __init__(self, model: ee.Model) -> None:
        samples = model.bundle.arrays(model.bundle.manifest.samples)
        n = len(next(iter(samples.values())))
        self.model = model
        self.inputs = [{name: array[i : i + 1] for name, array in samples.items()} for i in range(n)]
        self.expected = [self._answer(i) for i in range(len(self.inputs))]

    def calls(self, count: int, first: int = 0) -> int:
        """Make `count` calls, from the input `first` on; how many answers changed."""
        n = len(self.inputs)
        return sum(self._answer(i % n) != self.expected[i % n] for i in range(first, first + count))

    def calls_at_once(self, threads: int, count: int) -> int:
        """`count` calls in each of several threads, each from another input on; how many answers changed."""
        changed = [count] * threads  # a thread that dies has answered nothing

        def work(number: int) -> None:
            changed[number] = self.calls(count, number)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(changed)

    def _answer(self, index: int) -> tuple[int, float, bytes]:
        result = self.model(self.inputs[index])
        return result.exit, result.confidence, np.ascontiguousarray(result.logits).tobytes()


def resident_bytes() -> int:
    """Resident memory of this process, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def soak(model: ee.Model, calls: int, threads: int, calls_per_thread: int) -> dict[str, Any]:
    """All figures of the document that come from running."""
    run = Soak(model)
    changed = run.calls(calls // 10)
    settled = resident_bytes()
    changed += run.calls(calls - calls // 10)
    growth = resident_bytes() / settled - 1
    disturbed = run.calls_at_once(threads, calls_per_thread)
    counted = model.stats()["calls"]
    return {
        "calls": calls,
        "changed_answers": changed,
        "resident_bytes_settled": settled,
        "resident_growth": growth,
        "threads": threads,
        "calls_per_thread": calls_per_thread,
        "changed_answers_with_threads": disturbed,
        "exit_counts": model.stats()["exit_counts"],
        "calls_missing_in_stats": calls + threads * calls_per_thread + len(run.inputs) - counted,
    }


def main() -> int:
    """Soak the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--pool", default=PRIVATE, help="of threads; process: LiteRT's graphs share an interpreter")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls-per-thread", type=int, default=10_000)
    options = parser.parse_args()
    try:
        model = ee.load(options.bundle, variant=options.variant, pool=options.pool)
    except ee.EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    figures = soak(model, options.calls, options.threads, options.calls_per_thread)
    sound = (
        figures["resident_growth"] < MAX_GROWTH
        and figures["changed_answers"] == figures["changed_answers_with_threads"] == 0
        and figures["calls_missing_in_stats"] == 0
    )
    document = {
        "schema": "soak/1",
        "ok": sound,
        "bundle": model.bundle.manifest.name,
        "variant": model.variant,
        "pool": options.pool,
        **figures,
        "machine": read_machine(),
    }
    print(json.dumps(encode(document), indent=2))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
