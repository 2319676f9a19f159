"""A long-running loop around a bundle: statistics, a knob that moves by itself, and a deadline.

    python examples/service.py model.eebundle --deadline-ms 20 --max-latency-ms 15

It answers the bundle's own sample inputs again and again, where a real service would wait for work. Every few
seconds it looks at the device (temperature, battery, latency), moves along the operating points, and writes one line
of JSON; `--metrics FILE` keeps a file up to date that Prometheus' textfile collector can read. Ctrl-C ends it.
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
    """Serve until told to stop."""
    options = parse(arguments)
    try:
        model = ee.load(options.bundle, preload=False)
        serve(model, options)
    except ee.EarlyExitError as error:
        print(f"error: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    return 0


def parse(arguments: "list[str] | None") -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Answer a bundle's samples in a loop.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--deadline-ms", type=float, help="of every call; the best answer in time is taken")
    parser.add_argument("--max-latency-ms", type=float, help="nine calls in ten are to be faster than this")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="between two looks at the device")
    parser.add_argument("--calls", type=int, help="stop after so many")
    parser.add_argument("--metrics", type=Path, help="file to keep up to date for Prometheus")
    return parser.parse_args(arguments)


def serve(model: ee.Model, options: argparse.Namespace) -> None:
    """Answer until SIGINT or SIGTERM, or `--calls` calls."""
    stopped: list[int] = []
    before = {s: signal.signal(s, lambda number, _: stopped.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    governor = make_governor(model, options.max_latency_ms)
    look_at = time.monotonic() + options.every
    try:
        for call, x in enumerate(inputs(model), 1):
            model(x, deadline_ms=options.deadline_ms)
            done = bool(stopped) or call == options.calls
            if done or time.monotonic() >= look_at:
                look_at = time.monotonic() + options.every
                report(model, governor, options.metrics)
            if done:
                return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_governor(model: ee.Model, max_latency_ms: "float | None") -> "Governor | None":
    """Rules for a small board; None where the bundle has no two points to move between."""
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
    """The bundle's samples, one at a time and for ever."""
    arrays = model.bundle.arrays(model.bundle.manifest.samples)
    for n in cycle(range(len(next(iter(arrays.values()))))):
        yield {name: array[n : n + 1] for name, array in arrays.items()}


def report(model: ee.Model, governor: "Governor | None", metrics: "Path | None") -> None:
    """Move the knob, say how things are, and write the metrics."""
    stats = model.stats()
    fields = ("operating_point", "calls", "exit_shares", "mean_exit_depth", "compute_saved", "latency_ms", "ungated")
    line = {field: stats[field] for field in fields}
    line["next_operating_point"] = governor.update() if governor is not None else stats["operating_point"]
    print(json.dumps(line), flush=True)
    if metrics is not None:
        temporary = metrics.with_name(metrics.name + ".new")
        temporary.write_text(model.prometheus(), encoding="utf-8")
        temporary.replace(metrics)  # at once, so that nobody reads half a file


if __name__ == "__main__":
    sys.exit(main())
