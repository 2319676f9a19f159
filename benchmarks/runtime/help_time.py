"""Time of `eetool --help` and of `python -c pass`, as whole processes, interleaved: one JSON document.

python benchmarks/runtime/help_time.py
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

from fresh_process import interleaved_rounds

COMMANDS = {
    "pass": [sys.executable, "-c", "pass"],
    "help": [sys.executable, "-c", "import sys; from eetool.cli.app import main; sys.argv[1:] = ['--help']; main()"],
    "verb_help": [sys.executable, "-c", "from eetool.cli.app import main; main(['train', '--help'])"],
}


def main() -> int:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="processes per command")
    options = parser.parse_args()
    rounds = interleaved_rounds(COMMANDS, process_ms, options.runs)
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


def process_ms(command: list[str], environment: dict[str, str]) -> float:
    """Return the milliseconds that `command` takes in a new process."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
