"""Seeded fuzzer for the manifest parser: a damaged manifest is parsed or refused.

    python -m tests.attacks.fuzz_manifest --runs 1000000

Valid manifests are damaged in bytes (cut, repeated, spliced) and values (replaced, removed, moved), with few changes at
a time, so that every depth of the parser is reached. A manifest that still parses must be equal after encoding and
decoding, and its operating points must give a plan. The program prints one JSON document, and exits with 1 after any
other outcome.
"""

import argparse
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from eetool_measure.records import encode
from eetool_runtime.errors import BundleError
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest_parser import parse_manifest
from tests.helpers.json_damage import damaged
from tests.helpers.tiny_bundle import with_offload, with_stream, write_tiny_bundle

_GOLDEN = Path(__file__).parents[1] / "golden/manifest-1.0.json"
_MAX_FOUND = 20  # enough to see what is wrong


def seeds() -> list[bytes]:
    """Return valid manifests of different structure."""
    forms: tuple[dict[str, Any], ...] = (
        {"name": "plain"},
        {"name": "joined", "joined": True, "references": False},
        {"name": "chained", "chained": True, "ids": True, "early_exits": 3},
        {"name": "static", "early_exits": 0},
        {"name": "optional", "ids": True, "edit": with_optional_fields},
    )
    with tempfile.TemporaryDirectory() as folder:
        produced = [write_tiny_bundle(Path(folder), **form) for form in forms]
        texts = [(path / "manifest.json").read_bytes() for path in produced]
    return [*texts, _GOLDEN.read_bytes()]


def with_optional_fields(document: Any) -> None:
    """Add the fields to a manifest with ids that the other seeds leave out."""
    image, ids = document["inputs"]
    image["preprocess"] = {"scale": 0.01, "mean": [0.5], "std": [0.5], "resize": {"fit": "pad", "filter": "bilinear"}}
    ids.update(shape=["batch", 3], text={"vocabulary": ["fine", "film"], "segmentation": "unicode-17"})
    for k, end in enumerate(document["exits"]):
        end.update(slope=f"exit{k}_slope", offset=f"exit{k}_offset")
    for key, variant in document["variants"].items():
        variant.update(slopes=[1.5] * len(document["exits"]), offsets=[-0.5] * len(document["exits"]), batch=1)
        measured = {"threads": 2, "component_latency_ms": {"seg0": 0.5}}
        document["devices"]["host"] = {"machine": "Some board", "variants": {key: measured}}
    document["unsplit_macs"] = 1000
    with_stream(document)
    with_offload(document)


def judge(data: bytes) -> str:
    """Return `parsed`, or the place that refused `data`; raise any other exception."""
    try:
        manifest = parse_manifest(data)
    except BundleError as refused:
        if not (refused.message.isprintable() and len(refused.message) < 500):
            raise AssertionError(f"not fit to be shown: {refused.message!r}") from None
        return _place(refused.__traceback__)
    again = parse_manifest(json.dumps(encode(manifest)).encode())
    if again != manifest:
        raise AssertionError("it is another manifest when written and read again")
    for variant in manifest.variants.values():
        for point in variant.operating_points.values():
            plan_steps(manifest, point.thresholds)
    return "parsed"


def _place(trace: TracebackType | None) -> str:
    """Return file and line of the refusal, without the helpers that only raise."""
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name not in ("_require", "_refuse", "_expect", "judge"):
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def fuzz(runs: int, seed: int) -> dict[str, Any]:
    """Damage and parse `runs` manifests, reproducibly by `seed`."""
    pick, texts = random.Random(seed), seeds()
    places: Counter[str] = Counter()
    actual: list[dict[str, str]] = []
    for _ in range(runs):
        data = damaged(pick, texts)
        try:
            places[judge(data)] += 1
        except Exception as error:  # the very thing that is looked for
            where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
            actual.append({"error": f"{type(error).__name__}: {error}", "where": where, "input": repr(data)})
            if len(actual) == _MAX_FOUND:
                break
    parsed = places.pop("parsed", 0)
    return {
        "schema": "fuzz/1",
        "seed": seed,
        "runs": parsed + places.total() + len(actual),
        "parsed": parsed,
        "refused": places.total(),
        "refused_at_places": len(places),
        "uncaught": actual,
    }


def main() -> int:
    """Fuzz with the options of the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    document = fuzz(options.runs, options.seed)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["uncaught"] else 0


if __name__ == "__main__":
    sys.exit(main())
