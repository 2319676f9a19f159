"""Command `python -m eetool_measure`: measure a bundle or a folder of probes, and print one JSON document.

    python -m eetool_measure model.eebundle --threads 2 --power hwmon

Each thread count needs its own process, because the pool of a process can be set only once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from eetool_runtime.backends import PRIVATE, PROCESS
from eetool_runtime.bundle import open_bundle
from eetool_runtime.errors import EarlyExitError, UsageError

from .bundle_timing import MIN_SECONDS, PICTURE, RUNS, SEED, measure_bundle
from .energy import GROSS, NET, EnergyMeter
from .meters.registry import METERS
from .probe_timing import ALL, PROBES, WHOLE, ProbeTimes, measure_probes
from .records import encode
from .results import Measurement


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Print one JSON document on stdout, or a message on stderr; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eetool_measure", description="Measure a bundle.")
    parser.add_argument("bundle")
    parser.add_argument("--variant", help="such as onnx/fp32; by default the first of the bundle")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pool", default=PROCESS, help=f"{PRIVATE} or {PROCESS}")
    parser.add_argument("--runs", type=int, default=RUNS, help="minimum number of timed calls of every subject")
    parser.add_argument("--min-seconds", type=float, default=MIN_SECONDS, help="minimum measuring time")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--picture", type=_size, default=PICTURE, metavar="480x640", help="of which inputs are made")
    parser.add_argument("--power", metavar="METER", help=f"also measure energy: {', '.join(METERS)}")
    parser.add_argument("--power-seconds", type=float, help="length of one energy window; by default ten readings")
    parser.add_argument("--power-scope", default=NET, choices=(NET, GROSS), help="idle power subtracted, or not")
    parser.add_argument("--sustained-seconds", type=float, help="then call the model without a pause for this time")
    parser.add_argument("--watts", type=float, help="power draw of the board, to estimate energy without a meter")
    parser.add_argument("--times", default=ALL, choices=(ALL, WHOLE), help="of probes: those of whole calls alone")
    parser.add_argument("--progress", action="store_true", help="report measured probes on stderr")
    options = vars(parser.parse_args(arguments))
    try:
        options["power"] = EnergyMeter.from_options(
            *(options.pop(name) for name in ("power", "watts", "power_seconds", "power_scope"))
        )
        document = _measure(Path(options.pop("bundle")), options.pop("variant"), options)
    except EarlyExitError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"       {error.hint}\n" if error.hint else ""))
        return error.exit_code
    sys.stdout.write(json.dumps(encode(document), indent=2) + "\n")
    return 0


def _measure(path: Path, variant: Optional[str], options: dict[str, Any]) -> Union[Measurement, ProbeTimes]:
    if (path / PROBES).is_file():
        if options.pop("power") is not None:
            raise UsageError("the energy of probes is not measured", "Leave out --power and --watts.")
        if options.pop("sustained_seconds") is not None:
            raise UsageError("--sustained-seconds is for bundles; this is a folder of probes")
        options.pop("picture")
        return measure_probes(path, report=_report if options.pop("progress") else lambda steps: None, **options)
    if options.pop("times") != ALL:
        raise UsageError("--times is for a folder of probes; this is a bundle")
    options.pop("progress")
    bundle = open_bundle(path)
    return measure_bundle(bundle, variant or next(iter(bundle.manifest.variants)), **options)


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    if min(height, width) < 1:
        raise ValueError(text)
    return height, width


def _report(steps: int) -> None:
    """Write the number of probes that were measured since the last report, as `eetool table` reads it."""
    sys.stderr.write(f"eetool-progress {steps}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
