"""Resident memory of a loaded bundle and of its unsplit network: one JSON document.

    python benchmarks/runtime/memory.py model.eebundle

Each is loaded in its own process and classifies one sample. `process_bytes` is the resident set of the process;
`beyond_imports_bytes` is its growth since before loading.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from eetool_runtime import EarlyExitError, open_bundle

PROGRAM = """
import json, sys
import eetool_runtime as ee
from eetool_runtime.backends import backend_for, open_graph
from eetool_runtime.machine import resident_bytes

what, path, variant = sys.argv[1:]
bundle = ee.open_bundle(path)
backend_for(variant.split("/")[0])
samples = bundle.arrays(bundle.manifest.samples)
x = {i.name: samples[i.name][:1] for i in bundle.manifest.inputs}
before = resident_bytes()
if what == "unsplit":
    subject = open_graph(bundle.file(bundle.variant(variant).references["unsplit"]))
    subject.run(x)
elif what == "all_exits":
    subject = open_graph(bundle.file(bundle.variant(variant).references["all_exits"]))
else:
    subject = ee.load(bundle, variant=variant, threads=1, preload=what != "lazy")
    if what == "loaded":
        subject(x, min_exit=-1)
after = resident_bytes()
print(json.dumps([after, after - before]))
"""
SUBJECTS = ("unsplit", "all_exits", "loaded", "lazy")


def main() -> int:
    """Measure the bundle on the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", help="by default the bundle's first")
    parser.add_argument("--runs", type=int, default=5, help="processes per subject")
    options = parser.parse_args()
    try:
        bundle = open_bundle(options.bundle)
    except EarlyExitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    variant = options.variant or next(iter(bundle.manifest.variants))
    pairs_of = {what: [measure(what, options.bundle, variant) for _ in range(options.runs)] for what in SUBJECTS}
    whole = {what: statistics.median(pair[0] for pair in pairs) for what, pairs in pairs_of.items()}
    document = {
        "schema": "memory/1",
        "bundle": bundle.manifest.name,
        "variant": variant,
        "graph_files_bytes": bundle.size_bytes(g.path for g in bundle.variant(variant).components.values()),
        "process_bytes": whole,
        "beyond_imports_bytes": {
            what: statistics.median(pair[1] for pair in pairs) for what, pairs in pairs_of.items()
        },
        "ratio_loaded_to_unsplit": whole["loaded"] / whole["unsplit"],
        "runs": options.runs,
    }
    print(json.dumps(document, indent=2))
    return 0


def measure(what: str, path: Path, variant: str) -> tuple[int, int]:
    """Return resident bytes after loading, and their growth by loading, in a new process."""
    command = [sys.executable, "-c", PROGRAM, what, str(path), variant]
    after, added = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return after, added


if __name__ == "__main__":
    sys.exit(main())
