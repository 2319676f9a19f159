"""A seeded fuzzer for the manifest's reader: whatever is damaged, it parses or it is refused; nothing else happens.

    PYTHONPATH=runtimes/python:runtimes/python/tests python tests/attacks/fuzz_manifest.py --runs 1000000

Sound manifests are damaged as bytes (cut, repeated, spliced) and as values (replaced, removed, moved), a few damages
at a time, so that every depth of the reader is reached. What still parses must survive being written and read again,
and its operating points must give a plan. Prints one JSON document, and exits with 1 if anything else happened.
"""

import argparse
import copy
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tiny import write_tiny_bundle

from eetool_measure.records import encode
from eetool_runtime.errors import BundleError
from eetool_runtime.manifest import parse_manifest
from eetool_runtime.policy import plan

_GOLDEN = Path(__file__).parents[1] / "golden/manifest-1.0.json"
_MAX_FOUND = 20  # enough to see what is wrong
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, 1, -1, 2, 0.5, 2.0, 1e-7, 1e6, 1e300, -1e300, 5e-324, 1 << 31, 1 << 62, -(1 << 62)),
    *("", "a", "1.0", "1.1", "2.0", "01.0", "batch", "float32", "int64", "segment", "exit", "joined", "fp32", "int8"),
    *("../x", "/x", "a/../b", "a\\b", "a\x00b", "\x1b[2J", "\ud800", "\u202e", "é", "x" * 300, "onnx/fp32", "0" * 64),
    *([], {}, [[]], [None], {"": 0}, {"\ud800": 0}, [0.0] * 9, ["batch"]),
)
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xef\xbb\xbf"),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 30, b"0x1", b"null", b"true", b"[" * 5000, b'{"a":' * 5000),
)


def seeds() -> list[bytes]:
    """Sound manifests that differ in their parts."""
    forms: tuple[dict[str, Any], ...] = (
        {"name": "plain"},
        {"name": "joined", "joined": True, "references": False},
        {"name": "chained", "chained": True, "ids": True, "early_exits": 3},
        {"name": "static", "early_exits": 0},
    )
    with tempfile.TemporaryDirectory() as folder:
        made = [write_tiny_bundle(Path(folder), **form) for form in forms]
        texts = [(path / "manifest.json").read_bytes() for path in made]
    return [*texts, _GOLDEN.read_bytes()]


def damaged(pick: random.Random, texts: list[bytes]) -> bytes:
    """One of `texts` with one to four damages, of its values or of its bytes, sometimes of both."""
    text = pick.choice(texts)
    kind = pick.random()
    if kind < 0.7:
        document = json.loads(text)
        for _ in range(pick.choice((1, 1, 1, 2, 3, 4))):
            _damage_value(pick, document)
        text = json.dumps(document, ensure_ascii=pick.random() < 0.5).encode("utf-8", "surrogatepass")
    if kind > 0.6:
        for _ in range(pick.choice((1, 1, 1, 2, 3, 4))):
            text = _damage_bytes(pick, text, texts)
    return text


def _damage_value(pick: random.Random, document: Any) -> None:
    """Walk down to a random place and change what stands there."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = pick.choice(keys)
        if not isinstance(document[key], (dict, list)) or pick.random() < 0.15:
            break
        document = document[key]
    action = pick.random()
    if action < 0.4:
        document[key] = copy.deepcopy(pick.choice(_VALUES))  # a later damage may change it
    elif action < 0.6:
        document[key] = _nearby(pick, document[key])
    elif action < 0.75:
        document[key], document[keys[0]] = document[keys[0]], document[key]
    elif action < 0.9:
        del document[key]
    elif isinstance(document, dict):
        document[str(pick.choice(_VALUES))] = document[key]
    else:
        document.append(document[key])


def _nearby(pick: random.Random, value: Any) -> Any:
    """A value of the same type that may still be sound, so that the damage reaches the later rules."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + pick.choice((-1, 1, 1000))
    if isinstance(value, float):
        return value * pick.choice((-1.0, 0.5, 2.0)) + pick.choice((0.0, 1e-9, 1.0))
    if isinstance(value, str):
        place = pick.randint(0, len(value))
        return value[:place] + pick.choice(("", "0", "x", "/", "é")) + value[place + pick.randint(0, 1) :]
    return value


def _damage_bytes(pick: random.Random, text: bytes, texts: list[bytes]) -> bytes:
    start = pick.randint(0, len(text))
    stop = min(len(text), start + pick.randint(0, 40))
    new: Callable[[], bytes] = pick.choice(
        (
            lambda: b"",
            lambda: pick.choice(_TOKENS),
            lambda: pick.randbytes(pick.randint(1, 8)),
            lambda: text[start:stop] * 2,
            lambda: pick.choice(texts)[start : start + pick.randint(0, 200)],
        )
    )
    changed = text[:start] + new() + text[stop:]
    return changed[: pick.randint(0, len(changed))] if pick.random() < 0.05 else changed


def judge(data: bytes) -> str:
    """`parsed`, or the place in the reader that refused `data`. Raises whatever must never happen."""
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
            plan(manifest, point.thresholds)
    return "parsed"


def _place(trace: TracebackType | None) -> str:
    """File and line that refused, behind the helpers that only raise."""
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name not in ("_require", "_refuse", "_expect", "judge"):
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def fuzz(runs: int, seed: int) -> dict[str, Any]:
    """Damage and judge `runs` manifests; the same `seed` gives the same ones."""
    pick, texts = random.Random(seed), seeds()
    places: Counter[str] = Counter()
    found: list[dict[str, str]] = []
    for _ in range(runs):
        data = damaged(pick, texts)
        try:
            places[judge(data)] += 1
        except Exception as error:  # the very thing that is looked for
            where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
            found.append({"error": f"{type(error).__name__}: {error}", "where": where, "input": repr(data)})
            if len(found) == _MAX_FOUND:
                break
    parsed = places.pop("parsed", 0)
    return {
        "schema": "fuzz/1",
        "seed": seed,
        "runs": parsed + places.total() + len(found),
        "parsed": parsed,
        "refused": places.total(),
        "refused_at_places": len(places),
        "uncaught": found,
    }


def main() -> int:
    """Fuzz as the command line says and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    document = fuzz(options.runs, options.seed)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["uncaught"] else 0


if __name__ == "__main__":
    sys.exit(main())
