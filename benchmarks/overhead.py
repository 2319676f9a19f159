"""What a split costs and what the runtime adds: one bundle, 1 and 2 threads, one JSON document on stdout.

    python benchmarks/overhead.py model.eebundle

Milliseconds are medians over all runs; ratios and microseconds are medians over the rounds of the measurement, each
with its 95 % interval. Everything of one thread count was measured interleaved in one process (docs/measuring.md).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from eetool.errors import EarlyExitError
from eetool.profile.child import measure_apart
from eetool.profile.options import Protocol
from eetool_measure.measurement import ThreadTimes
from eetool_measure.records import encode
from eetool_measure.timing import Latency
from eetool_runtime import open_bundle

THREADS = (1, 2)


def main() -> int:
    """Measure the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", help="by default the bundle's first")
    parser.add_argument("--runs", type=int, default=Protocol.runs, help="of everything, at least")
    parser.add_argument("--min-seconds", type=float, default=10.0, help="per thread count, at least")
    options = parser.parse_args()
    try:
        variant = options.variant or next(iter(open_bundle(options.bundle).manifest.variants))
        protocol = Protocol(options.runs, options.min_seconds)
        measured = [measure_apart(options.bundle, variant, threads, protocol) for threads in THREADS]
    except EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    document = {
        "schema": "overhead/1",
        "bundle": measured[0].bundle,
        "variant": variant,
        "protocol": protocol,
        "threads": [overhead(m.times) for m in measured],
        "machine": measured[0].machine,
    }
    print(json.dumps(encode(document), indent=2))
    return 0


def overhead(times: ThreadTimes) -> dict[str, Any]:
    """The figures of one thread count, with what the split costs apart from what the runtime adds."""
    full_depth, found = times.cascade[-1], times.overhead
    return {
        "threads": times.threads,
        "pool": times.pool,
        "unsplit_ms": _median(times.references.unsplit),
        "all_exits_ms": _median(times.references.all_exits),
        "components_sum_ms": full_depth.components_sum_ms,
        "cascade_full_depth_ms": full_depth.latency_ms.median,
        "cascade_full_depth_heads_skipped_ms": times.full.median,
        "ratios": {
            "split: components / all_exits": found.components_to_all_exits,
            "runtime: cascade / components": found.cascade_to_components,
            "both: cascade / all_exits": found.cascade_to_all_exits,
            "cascade / unsplit": found.cascade_to_unsplit,
            "cascade with heads skipped / unsplit": found.full_to_unsplit,
        },
        "dispatch_us_per_component": {
            "split": found.split_us_per_component,
            "runtime": full_depth.runtime_us_per_component,
        },
        "exits": [
            {
                "exit": at.exit,
                "cascade_ms": at.latency_ms.median,
                "components_sum_ms": at.components_sum_ms,
                "ratio": at.ratio,
                "runtime_us_per_component": at.runtime_us_per_component,
            }
            for at in times.cascade
        ],
        "components_ms": {c.name: c.latency_ms.median for c in times.components},
    }


def _median(latency: Latency | None) -> float | None:
    return latency.median if latency is not None else None


if __name__ == "__main__":
    sys.exit(main())
