"""All commands for an early-exit encoder of texts, from a file to a verdict.

    python classify.py lines.tsv --epochs 1 --drop 2
    python classify.py SST-2                     # a folder with train.tsv and dev.tsv

The deepest exit teaches the others. Outputs are named after the data: lines.pt, lines.eebundle, lines.json.
"""

import argparse
import sys
from pathlib import Path

from eetool.cli.app import main as eetool

RECIPE = ("--exits", "3", "--recipe", "distill", "--optimizer", "adamw", "--learning-rate", "0.001")
RECIPE += ("--batch-size", "64", "--threads", "1", "--seed", "0")


def main() -> int:
    """Train, tune, export and bench."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="a .tsv file, or a folder with train.tsv and dev.tsv")
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--drop", default="0.5", help="percentage points of accuracy that may be lost")
    parser.add_argument("--passes", default="7", help="measured passes over the test texts")
    parser.add_argument("--min-seconds", default="6", help="of measurement")
    options = parser.parse_args()
    name = options.data.stem
    model, bundle = f"{name}.pt", f"{name}.eebundle"
    data = ("--data", f"tsv:{options.data}")
    timing = ("--passes", options.passes, "--min-seconds", options.min_seconds)
    for words in (
        ("train", "text-tiny", *data, *RECIPE, "--epochs", options.epochs, "-o", model),
        ("tune", model, *data, "--max-accuracy-drop", options.drop),
        ("export", model, "-o", bundle),
        ("bench", bundle, *data, *timing, "-o", f"{name}.json"),
    ):
        print("$ eetool", *words, flush=True)
        try:
            eetool(words)
        except SystemExit as done:  # as every command ends
            if done.code:
                return int(done.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
