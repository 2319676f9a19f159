"""What `eetool --help` costs beside `python -c pass`, whole processes, in turns: one JSON document.

    python benchmarks/help_time.py

The first round is not counted: it fills the disk cache and a bytecode cache that all of them share.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "pass": [sys.executable, "-c", "pass"],
    "help": [sys.executable, "-c", "import sys; from eetool.cli import main; sys.argv[1:] = ['--help']; main()"],
    "verb_help": [sys.executable, "-c", "from eetool.cli import main; main(['train', '--help'])"],
}


def main() -> int:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="processes per command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        turns = [{name: once(command, cache) for name, command in COMMANDS.items()} for _ in range(options.runs + 1)]
    rounds = turns[1:]
    document = {
        "schema": "help_time/1",
        "median_ms": {name: statistics.median(r[name] for r in rounds) for name in COMMANDS},
        "fastest_ms": {name: min(r[name] for r in rounds) for name in COMMANDS},
        "ratio_help_to_pass": statistics.median(r["help"] / r["pass"] for r in rounds),
        "ratio_verb_help_to_pass": statistics.median(r["verb_help"] / r["pass"] for r in rounds),
        "runs": options.runs,
        "python": sys.version.split()[0],
    }
    print(json.dumps(document, indent=2))
    return 0


def once(command: list[str], cache: str) -> float:
    """Milliseconds that `command` takes in a new process."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
