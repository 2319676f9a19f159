"""Soak test of one bundle: memory growth, changed results, and calls from many threads.

    python benchmarks/runtime/soak.py model.eebundle --calls 1000000

One thread first makes `--calls` calls; resident memory is read at a tenth of them, when every buffer has its size, and
at the end. Then `--threads` threads make `--calls-per-thread` calls each at the same time. Every single answer, exit,
confidence and logits, is compared bit for bit with the first one to the same input. With `--minutes`, the threads then
make every call that a model has in random order: answers one by one, in batches, under a deadline, of every exit,
`use`, `stats` and `prometheus`. Prints one JSON document, and exits with 1 where an answer changed, a call failed, one
was not counted, or memory grew by 1 % or more.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool_measure.machine import read_machine
from eetool_measure.records import encode
from eetool_runtime.backends import PRIVATE
from eetool_runtime.machine import resident_bytes

MAX_GROWTH = 0.01
TOLERANCE = 1e-3  # of logits in a batch, which engines may add up in another order


class Soak:
    """A model, its repeated inputs, and the first result of each."""

    def __init__(self, model: ee.Model) -> None:
        samples = model.bundle.arrays(model.bundle.manifest.samples)
        n = len(next(iter(samples.values())))
        self.model = model
        self.inputs = [{name: array[i : i + 1] for name, array in samples.items()} for i in range(n)]
        self.expected = [self._result(i) for i in range(len(self.inputs))]

    def calls(self, count: int, first: int = 0) -> int:
        """Make `count` calls, starting at input `first`; return the number of changed results."""
        n = len(self.inputs)
        return sum(self._result(i % n) != self.expected[i % n] for i in range(first, first + count))

    def calls_at_once(self, threads: int, count: int) -> int:
        """Make `count` calls in each of several threads, each with another first input; return the changed results."""
        changed = [count] * threads  # a thread that dies counts as changed

        def work(number: int) -> None:
            changed[number] = self.calls(count, number)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(changed)

    def _result(self, index: int) -> tuple[int, float, bytes]:
        result = self.model(self.inputs[index])
        return result.exit, result.confidence, np.ascontiguousarray(result.logits).tobytes()


class Mixture:
    """Threads that make all kinds of calls of one model at random, and what came of them."""

    def __init__(self, model: ee.Model, inputs: list[dict[str, np.ndarray]]) -> None:
        self.model = model
        self.inputs = inputs
        self.points = list(model.operating_points)
        self.expected = [[logits[0] for logits, _ in model.every_exit(x)] for x in inputs]
        self.done: Counter[str] = Counter()
        self.answered = 0
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._kinds = (self.call, self.limited, self.batch, self.every_exit, self.use, self.stats, self.prometheus)

    def run(self, threads: int, seconds: float) -> None:
        """Let `threads` threads work for `seconds`; the first problem of each ends it."""
        end = time.monotonic() + seconds
        workers = [threading.Thread(target=self._work, args=(number, end)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self, number: int, end: float) -> None:
        draw, done, answered = random.Random(number), Counter[str](), 0
        try:
            while time.monotonic() < end:
                kind = draw.choice(self._kinds)
                answered += kind(draw)
                done[kind.__name__] += 1
        except Exception as error:
            self.problems.append(f"{kind.__name__}: {type(error).__name__}: {error}")
        with self._lock:
            self.done += done
            self.answered += answered

    def call(self, draw: random.Random) -> int:
        """One answer, from a random exit on."""
        number = draw.randrange(len(self.inputs))
        return self._hold(number, self.model(self.inputs[number], min_exit=draw.choice((0, 0, -1))))

    def limited(self, draw: random.Random) -> int:
        """One answer under a deadline."""
        number = draw.randrange(len(self.inputs))
        return self._hold(number, self.model(self.inputs[number], deadline_ms=draw.choice((0.01, 1, 1000))))

    def batch(self, draw: random.Random) -> int:
        """A few answers at once."""
        chosen = [draw.randrange(len(self.inputs)) for _ in range(draw.randint(1, 5))]
        results = self.model.batch(self._together(chosen))
        if len(results) != len(chosen):
            raise ValueError(f"{len(results)} answers to {len(chosen)} inputs")
        return sum(self._hold(number, result) for number, result in zip(chosen, results, strict=True))

    def every_exit(self, draw: random.Random) -> int:
        """The answers of all exits, which are not counted."""
        chosen = [draw.randrange(len(self.inputs)) for _ in range(draw.randint(1, 3))]
        for index, (logits, _) in enumerate(self.model.every_exit(self._together(chosen))):
            for row, number in enumerate(chosen):
                self._same(number, index, logits[row])
        return 0

    def use(self, draw: random.Random) -> int:
        """Another operating point, now and then with a watchdog."""
        self.model.use(draw.choice(self.points), watch=draw.choice((None, None, (0.4, 0.6))))
        return 0

    def stats(self, draw: random.Random) -> int:
        """Figures that are plain JSON and agree with each other."""
        found = self.model.stats()
        json.dumps(found, allow_nan=False)
        if found["exit_counts"] != found["operating_points"][found["operating_point"]]["exit_counts"]:
            raise ValueError("stats() mixes two operating points")
        return 0

    def prometheus(self, draw: random.Random) -> int:
        """The same as text."""
        if "exits_total" not in self.model.prometheus():
            raise ValueError("prometheus() lacks a family")
        return 0

    def _together(self, chosen: list[int]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([self.inputs[number][name] for number in chosen]) for name in self.inputs[0]}

    def _hold(self, number: int, result: ee.Result) -> int:
        self._same(number, result.exit, result.logits)
        return 1

    def _same(self, number: int, index: int, logits: np.ndarray) -> None:
        if not np.allclose(logits, self.expected[number][index], rtol=TOLERANCE, atol=TOLERANCE):
            raise ValueError(f"another answer of exit {index} to input {number}")


def soak(model: ee.Model, calls: int, threads: int, calls_per_thread: int, minutes: float = 0) -> dict[str, Any]:
    """All figures of the document that come from running."""
    run = Soak(model)
    changed = run.calls(calls // 10)
    settled = resident_bytes()
    assert settled is not None, "resident memory is read from /proc"
    changed += run.calls(calls - calls // 10)
    growth = (resident_bytes() or settled) / settled - 1
    disturbed = run.calls_at_once(threads, calls_per_thread)
    counts = model.stats()["exit_counts"]
    mixed = Mixture(model, run.inputs)
    mixed.run(threads, 60 * minutes)
    counted = sum(figures["calls"] for figures in model.stats()["operating_points"].values())
    return {
        "calls": calls,
        "changed_answers": changed,
        "resident_bytes_settled": settled,
        "resident_growth": growth,
        "threads": threads,
        "calls_per_thread": calls_per_thread,
        "changed_answers_with_threads": disturbed,
        "exit_counts": counts,
        "mixed_minutes": minutes,
        "mixed_calls": dict(mixed.done),
        "mixed_problems": mixed.problems,
        "calls_missing_in_stats": calls + threads * calls_per_thread + len(run.inputs) + mixed.answered - counted,
    }


def main() -> int:
    """Run the soak test on the bundle of the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="auto")
    parser.add_argument(
        "--pool", default=PRIVATE, help="thread pool: private or process (LiteRT graphs then share an interpreter)"
    )
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls-per-thread", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=0, help="of all kinds of calls, in the same threads")
    options = parser.parse_args()
    try:
        model = ee.load(options.bundle, variant=options.variant, pool=options.pool)
    except ee.EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    figures = soak(model, options.calls, options.threads, options.calls_per_thread, options.minutes)
    sound = (
        figures["resident_growth"] < MAX_GROWTH
        and figures["changed_answers"] == figures["changed_answers_with_threads"] == 0
        and figures["calls_missing_in_stats"] == 0
        and not figures["mixed_problems"]
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
