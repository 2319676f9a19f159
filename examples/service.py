"""A long-running loop around a bundle: statistics, automatic operating points and a deadline.

    python examples/service.py model.eebundle --deadline-ms 20 --max-latency-ms 15

It classifies the bundle's sample inputs repeatedly, where a real service would wait for requests. Every few seconds it
reads temperature, battery and latency, chooses an operating point, and writes one line of JSON. `--metrics FILE`
updates a file for Prometheus' textfile collector. Ctrl-C ends it.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import eetool_runtime as ee
from eetool_runtime.governor import Governor, Rule, battery_percent, latency_ms, temperature_c


def main(arguments: "list[str] | None" = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    options = parse(arguments)
    try:
        model = ee.load(options.bundle, preload=False)
        serve(model, options)
    except ee.EarlyExitError as error:
        print(f"error: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    return 0


def parse(arguments: "list[str] | None") -> argparse.Namespace:
    """Return the parsed options."""
    parser = argparse.ArgumentParser(description="Classify a bundle's samples in a loop.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--deadline-ms", type=float, help="of every call; the deepest exit in time is used")
    parser.add_argument("--max-latency-ms", type=float, help="limit for nine calls in ten")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="between two device readings")
    parser.add_argument("--calls", type=int, help="stop after so many")
    parser.add_argument("--metrics", type=Path, help="metrics file for Prometheus")
    return parser.parse_args(arguments)


def serve(model: ee.Model, options: argparse.Namespace) -> None:
    """Classify until SIGINT or SIGTERM, or for `--calls` calls."""
    stopped: list[int] = []
    before = {s: signal.signal(s, lambda number, _: stopped.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    governor = make_governor(model, options.max_latency_ms)
    next_report = time.monotonic() + options.every
    try:
        for call, x in enumerate(inputs(model), 1):
            model(x, deadline_ms=options.deadline_ms)
            done = bool(stopped) or call == options.calls
            if done or time.monotonic() >= next_report:
                next_report = time.monotonic() + options.every
                report(model, governor, options.metrics)
            if done:
                return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_governor(model: ee.Model, max_latency_ms: "float | None") -> "Governor | None":
    """Return rules for a small board; None for a bundle with fewer than two operating points."""
    rules = [
        Rule("temperature", temperature_c, tighten=78, relax=70),
        Rule("battery", battery_percent, tighten=20, relax=30),
    ]
    if max_latency_ms is not None:
        rules.append(Rule("latency", latency_ms(model), tighten=max_latency_ms, relax=0.7 * max_latency_ms))
    try:
        return Governor(model, rules)
    except ee.EarlyExitError:
        return None


def inputs(model: ee.Model) -> Iterator["dict[str, object]"]:
    """Yield the bundle's samples, one at a time, without end."""
    arrays = model.bundle.arrays(model.bundle.manifest.samples)
    for n in cycle(range(len(next(iter(arrays.values()))))):
        yield {name: array[n : n + 1] for name, array in arrays.items()}


def report(model: ee.Model, governor: "Governor | None", metrics: "Path | None") -> None:
    """Choose the operating point, print a line of statistics and write the metrics."""
    stats = model.stats()
    fields = ("operating_point", "calls", "exit_shares", "mean_exit_depth", "compute_saved", "latency_ms", "ungated")
    line = {field: stats[field] for field in fields}
    line["next_operating_point"] = governor.update() if governor is not None else stats["operating_point"]
    print(json.dumps(line), flush=True)
    if metrics is not None:
        temporary = metrics.with_name(metrics.name + ".new")
        temporary.write_text(model.prometheus(), encoding="utf-8")
        temporary.replace(metrics)  # atomic, so that no reader sees half a file


if __name__ == "__main__":
    sys.exit(main())
