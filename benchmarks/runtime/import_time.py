"""Time of `import eetool_runtime` with a backend, of `import numpy, onnxruntime`, and of `import eetool` over nothing.

One JSON document.

    python benchmarks/runtime/import_time.py

Each import runs in its own process and measures itself; processes are interleaved.
"""

import argparse
import json
import statistics
import subprocess
import sys

from fresh_process import interleaved_rounds

PLAIN = "import numpy, onnxruntime"
RUNTIME = "import eetool_runtime; from eetool_runtime.backends import backend_for; backend_for('onnx')"
BARE = "import eetool_runtime"
NOTHING, API = "pass", "import eetool; dir(eetool)"
TIMED = """
import time
start, busy = time.perf_counter(), time.process_time()
{}
print(time.perf_counter() - start, time.process_time() - busy)
"""


def main() -> int:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="processes per import")
    options = parser.parse_args()
    subjects = {"plain": PLAIN, "runtime": RUNTIME, "bare": BARE, "nothing": NOTHING, "api": API}
    rounds = interleaved_rounds(subjects, import_ms, options.runs)
    document = {
        "schema": "import_time/1",
        "statements": subjects,
        "median_ms": {name: statistics.median(r[name][0] for r in rounds) for name in subjects},
        "median_cpu_ms": {name: statistics.median(r[name][1] for r in rounds) for name in subjects},
        "ratio_runtime_to_plain": statistics.median(r["runtime"][0] / r["plain"][0] for r in rounds),
        "ratio_of_cpu_time": statistics.median(r["runtime"][1] / r["plain"][1] for r in rounds),
        "api_over_nothing_ms": statistics.median(r["api"][0] - r["nothing"][0] for r in rounds),
        "runs": options.runs,
        "python": sys.version.split()[0],
    }
    print(json.dumps(document, indent=2))
    return 0


def import_ms(statement: str, environment: dict[str, str]) -> tuple[float, float]:
    """Return wall-clock and processor time in milliseconds that `statement` takes in a new process."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    elapsed, busy = (1e3 * float(word) for word in done.stdout.split())
    return elapsed, busy


if __name__ == "__main__":
    sys.exit(main())
