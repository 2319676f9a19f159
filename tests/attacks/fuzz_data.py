"""Seeded fuzzer for the readers of data: a damaged file is read or refused.

    python -m tests.attacks.fuzz_data --runs 100000

Valid archives, arrays, tables, folders, images and files of CIFAR and SVHN are damaged in bytes and values, and read as
the commands read them. What is read of a file that is not damaged must be what it was made of (`fuzz_images`,
`fuzz_sources`). Excessive memory or time counts as a finding, not as a refusal. The program prints one JSON document,
and exits with 1 after any finding.
"""

import argparse
import importlib
import io
import json
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from eetool.data.readers.cifar_pickle import read_cifar_pickle
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.numpy_arrays import read_npy
from eetool.data.registry import load_source
from eetool.errors import ArtefactError, EarlyExitError
from eetool.printable_text import visible
from tests.attacks import fuzz_images, fuzz_sources

_MAX_FOUND = 20  # enough to see what is wrong
_BOUND_S = 20  # of one reading, which takes a few milliseconds
_BOUND_BYTES = 8 << 30  # of all memory that the process may ask for
_PICKLE_PARTS = (
    *(b"(", b"]", b"}", b")", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"t", b"l", b"d", b"R", b"b", b"."),
    *(b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"h\x02", b"\x94", b"N", b"\x88", b"K\x07", b"J\xff\xff\xff\x7f"),
    *(
        b"cnumpy\nndarray\n",
        b"c_codecs\nencode\n",
        b"cos\nsystem\n",
        b"\x8a\xff",
        b"U\x02u1",
        b"h\x00h\x00\x86q\x00" * 40,
    ),
)

Read = Callable[[Path], object]
Made = tuple[str, bytes]  # name of the file, and what is in it
Judged = tuple[str, bytes, Read]  # and a reading that judges the result, for a file that is not damaged


def pickled(pick: random.Random) -> Made:
    """Return a dictionary as in CIFAR's Python files, with opcodes inserted, removed and repeated."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    parts = [b"\x80\x02", b"}", b"q\x00", b"(", b"U\x06labels", b"]", b"(", *[b"K\x01"] * 3, b"e", b"U\x04data", array]
    parts += [b"(", b"K\x01", b"K\x02", b"K\x03", b"\x86", dtype, b"\x89", b"U\x06abcdef", b"t", b"b", b"u", b"."]
    for _ in range(pick.choice((0, 1, 1, 2, 4, 8))):
        place = pick.randrange(len(parts))
        parts[place : place + pick.randint(0, 2)] = pick.choices((*_PICKLE_PARTS, *parts), k=pick.randint(0, 3))
    return "batch", b"".join(parts)


def one_array(pick: random.Random) -> Made:
    """Return an .npy whose header may contradict its data."""
    file = io.BytesIO()
    np.save(file, np.zeros(pick.choice(((1, 1, 4, 4), (4,), ())), pick.choice(("f4", "u1", "i8"))))
    data = file.getvalue()
    for old, new in ((b"(1,", b"(9" + b"9" * pick.randint(0, 20) + b","), (b"<f4", b"<U0"), (b"False", b"True ")):
        if pick.random() < 0.3:
            data = data.replace(old, new)
    return "a.npy", data


def picture(pick: random.Random) -> Judged:
    """Return an image of any mode, format and range of values."""
    data, values = fuzz_images.picture(pick)
    return "p.png", data, fuzz_images.reading_of(values)


def matrix(pick: random.Random) -> Made:
    """Return a .mat file as of SVHN, with labels of other types."""
    file = io.BytesIO()
    labels = (np.arange(20) % 10 + 1)[:, None].astype(pick.choice(("u1", "i8", "f8", "c16")))
    if pick.random() < 0.3:
        labels = np.full(pick.choice(((20, 1), (5, 1))), pick.choice((np.nan, 1.5, 1e300, -1, "x")))
    savemat(file, {"X": np.zeros((32, 32, 3, 20), np.uint8), "y": labels}, do_compression=pick.random() < 0.5)
    return "train_32x32.mat", file.getvalue()


def _read_array(path: Path) -> None:
    try:
        with path.open("rb") as file:
            read_npy(file)
    except Exception as error:  # as `eetool.data.input_files` does
        raise ArtefactError(f"{path}: {error_reason(error)}") from None


def _read_svhn(path: Path) -> None:
    (path.parent / "test_32x32.mat").write_bytes(path.read_bytes())
    load_source(f"svhn:{path.parent}")


_KINDS: dict[str, tuple[Callable[[random.Random], Made | Judged], Read]] = {
    "pickled": (pickled, read_cifar_pickle),
    "archive": (fuzz_sources.archive, lambda path: load_source(f"npz:{path}")),
    "array": (one_array, _read_array),
    "table": (fuzz_sources.table, lambda path: load_source(f"tsv:{path}")),
    "folder": (fuzz_sources.tree, fuzz_sources.read_tree),
    "picture": (picture, fuzz_images.read_one),
    "matrix": (matrix, _read_svhn),
}


def damaged(pick: random.Random, data: bytes) -> bytes:
    """Return bytes that may be changed, cut, repeated or moved."""
    for _ in range(pick.choice((0, 0, 1, 1, 2, 5))):
        start = pick.randint(0, len(data))
        stop = min(len(data), start + pick.randint(0, 40))
        new: bytes = pick.choice(
            (b"", pick.randbytes(pick.randint(1, 8)), data[start:stop] * 2, b"\xff" * 4, b"\0" * 8)
        )
        data = data[:start] + new + data[pick.choice((start, stop, start + len(new))) :]
    return data[: pick.randint(0, len(data))] if pick.random() < 0.05 else data


@contextmanager
def bounded() -> Iterator[None]:
    """Raise TimeoutError in a block that takes too long."""

    def late(*_: object) -> None:
        raise AssertionError(f"it took more than {_BOUND_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_BOUND_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge(read: Callable[[Path], object], path: Path) -> str:
    """Return `read` or `refused`; raise any other exception."""
    try:
        with bounded():
            read(path)
    except EarlyExitError as refused:
        if isinstance(refused.__context__, (MemoryError, AssertionError)):
            raise refused.__context__ from None
        output = visible(refused.message.replace(str(path.parent), "")).replace("\t", " ")  # as commands show it
        if not (output.isprintable() and len(output) < 700):
            raise AssertionError(f"not fit to be shown: {output[:2000]!r}") from None
        return "refused"
    return "read"


def fuzz(runs: int, seed: int, kinds: Sequence[str] = ()) -> dict[str, Any]:
    """Damage and read `runs` files, reproducibly by `seed`; of all kinds where none are named."""
    importlib.import_module("sklearn.model_selection")  # which takes long, and is no part of a reading
    pick = random.Random(seed)
    counts: Counter[str] = Counter()
    actual: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(runs):
            kind = pick.choice(tuple(kinds) or tuple(_KINDS))
            make, read = _KINDS[kind]
            name, sound, *judging = make(pick)
            path = Path(folder) / name
            is_damaged = pick.random() < 0.6
            path.write_bytes(damaged(pick, sound) if is_damaged else sound)
            if judging and not is_damaged:
                read = judging[0]
            try:
                counts[f"{kind} {judge(read, path)}"] += 1
            except Exception as error:  # the very thing that is looked for
                where = "".join(traceback.format_tb(error.__traceback__)[-2:]).strip()
                data = repr(path.read_bytes()[:4000])
                actual.append(
                    {"kind": kind, "error": f"{type(error).__name__}: {error}", "where": where, "input": data}
                )
                if len(actual) == _MAX_FOUND:
                    break
    done = dict(sorted(counts.items()))
    return {
        "schema": "fuzz/1",
        "seed": seed,
        "runs": counts.total() + len(actual),
        "outcomes": done,
        "uncaught": actual,
    }


def main() -> int:
    """Fuzz with the options of the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=tuple(_KINDS), default=[], metavar="KIND")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_BOUND_BYTES, _BOUND_BYTES))
    document = fuzz(options.runs, options.seed, options.only)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["uncaught"] else 0


if __name__ == "__main__":
    sys.exit(main())
