"""Archives, tables and folders for the fuzzer of data, and readings that compare a source with what it was made of."""

import io
import random
import shutil
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eetool.data.registry import load_source

_LABELS: tuple[Any, ...] = (0, 1, 2, 39, 40, 41, -1, 5 * 10**8, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
_NAMES = ("a", "", "é", "\x1b[2J", "x" * 300, "\u202e", "0", "\ud800")
_TEXT_PARTS = (b"\t", b"\n", b"\r", b'"', b"\x00", b"\x1b[2J", b"\xff", b"0", b"9999", b"-1", b"\xd9\xa3", b"x" * 400)
_LABEL_SETS = (
    ("0", "1"),
    ("1", "2", "3", "4"),
    ("0", "4"),
    ("pos", "neg"),
    ("-1", "1"),
    ("1.0", "2.0"),
    ("x", "1"),
    ("5",),
)
_PLACES = ("", "train/", "test/", "val/", "Train/", "valid/", ".git/", "__MACOSX/", "more/deep/")
_FOLDERS = ("a", "b", "A", "é", "e\u0301", "train", "test", ".hidden", "x\x1b[2J", "b ")
_FILES = ("1.png", "2.png", "3.PNG", "4.jfif", "5.heic", "notes.txt", "._6.png", "noname", "7.jpg", "sub/8.png")

Made = tuple[str, bytes, Callable[[Path], object]]


def archive(pick: random.Random) -> Made:
    """Return an .npz with random shapes, types, labels and names, and possibly damaged bytes."""
    n = pick.choice((40, 40, 40, 3, 1, 0))
    labels: np.ndarray = np.arange(n) % 2
    arrays: dict[str, np.ndarray] = {"images": _pixels(pick, n), "labels": labels}
    if pick.random() < 0.3:
        arrays["features"] = np.zeros((n, 5), pick.choice(("f2", "f4", "f8")))
    if pick.random() < 0.3:
        arrays |= {"test_images": _pixels(pick, 4), "test_labels": np.arange(4) % 2}
    if pick.random() < 0.2:
        arrays |= {"val_images": _pixels(pick, 4), "val_labels": np.arange(4) % 2}
    if pick.random() < 0.4:
        arrays["classes"] = np.array(pick.choices(_NAMES[:-1], k=pick.choice((2, 2, 2, 0, 50))))
    for _ in range(pick.choice((0, 0, 1, 1, 3))):
        _change_array(pick, arrays)
    file = io.BytesIO()
    pick.choice((np.savez, np.savez_compressed))(file, **arrays)
    return "a.npz", file.getvalue(), lambda path: _judge_archive(path, arrays)


def _pixels(pick: random.Random, n: int) -> np.ndarray:
    channels = pick.choice((1, 1, 1, 1, 1, 1, 3, 16))
    return np.random.default_rng(pick.getrandbits(32)).integers(0, 256, (n, channels, 4, 4), np.uint8)


def _judge_archive(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Fail where a source is read whose examples, labels or classes are not those of `arrays`."""
    source = load_source(f"npz:{path}")
    kind = "features" if "features" in arrays else "images"
    parts = [prefix for prefix in ("", "val_", "test_") if f"{prefix}{kind}" in arrays]
    assert np.array_equal(
        source.inputs, np.concatenate([arrays[f"{p}{kind}"].astype(source.inputs.dtype) for p in parts])
    )
    assert np.array_equal(source.labels, np.concatenate([arrays[f"{p}labels"] for p in parts]))
    assert len(set(source.classes)) == len(source.classes) > 1
    if kind == "images":
        assert source.inputs.shape[1] in (1, 3, 4) or source.inputs.shape[3] > 4, "the channels are last"


def _change_array(pick: random.Random, arrays: dict[str, np.ndarray]) -> None:
    name = pick.choice(list(arrays))
    array = arrays[name]
    if pick.random() < 0.5 and "labels" in name and array.size:
        value = pick.choice(_LABELS)
        wide = array.astype(np.uint64 if value >= 2**63 else np.int64).copy() if array.dtype.kind in "iu" else array
        if wide.dtype.kind in "iu":
            wide.flat[pick.randrange(wide.size)] = np.array(value, wide.dtype) if value >= 0 else 0
            arrays[name] = wide if value >= 0 else wide.astype(np.int64) - 1
        return
    changes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array[None],
        lambda: array[:1] if array.ndim else array,
        lambda: array[..., :0] if array.ndim else array,
        lambda: np.asarray(array.astype("U5") if array.dtype.kind not in "VM" else array),
        lambda: np.zeros(array.shape, pick.choice(("f4", "u8", "i1", "?", "c8", "M8[s]", "V3", "S4", "U0"))),
        lambda: np.full(array.shape, pick.choice((np.nan, np.inf, 1e300))),
        lambda: np.array(7),
        lambda: np.moveaxis(array, 1, -1) if array.ndim == 4 else array,
        lambda: array / 255 if array.dtype.kind == "u" else array,
    )
    arrays[name] = pick.choice(changes)()


def table(pick: random.Random) -> Made:
    """Return a table of texts with unusual characters and labels."""
    labels = pick.choice(_LABEL_SETS)
    rows = [(f"a {'fine' if i % 2 else 'dull'} film , the {i}th", labels[i % len(labels)]) for i in range(60)]
    mark, end = pick.choice(("", "", "\ufeff")), pick.choice(("\n", "\n", "\r\n", "\n\n"))
    lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows), ""]
    data = (mark + end.join(lines)).encode(pick.choice(("utf-8", "utf-8", "utf-8", "utf-16")))
    changes = pick.choice((0, 1, 1, 2, 4))
    for _ in range(changes):
        place = pick.randint(0, len(data))
        data = data[:place] + pick.choice(_TEXT_PARTS) * pick.choice((1, 1, 3)) + data[place + pick.randint(0, 2) :]
    return "t.tsv", data, lambda path: _judge_table(path, None if changes else [label for _, label in rows])


def _judge_table(path: Path, labels: list[str] | None) -> None:
    """Fail where the names of the labels that are read are not `labels`."""
    source = load_source(f"tsv:{path}")
    assert len(source.classes) > 1
    if labels is not None:
        names = [source.classes[label] for label in source.labels]
        assert names == [label.removesuffix(".0") for label in labels]


def tree(pick: random.Random) -> tuple[str, bytes]:
    """Return the paths of the files in a folder, one per line."""
    places = pick.sample(_PLACES, pick.choice((1, 1, 2, 3)))
    folders = pick.sample(_FOLDERS, pick.choice((2, 2, 3)))
    paths = set()
    for place in places:
        for folder in folders:
            names = {*pick.sample(_FILES, pick.choice((0, 0, 1, 2))), *(["1.png"] if pick.random() < 0.9 else [])}
            paths |= {f"{place}{folder}/{name}" for name in names}
    return "tree", "\n".join(sorted(paths)).encode()


def read_tree(path: Path) -> None:
    """Make the folder, read it, and fail where an image has another class than that of its folder."""
    folder = path.parent / "photos"
    made: dict[int, tuple[str, ...]] = {}
    folder.mkdir()  # fails where an earlier one was left
    try:
        for line in path.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
            _make(folder, line, made)
        source = load_source(f"folder:{folder}")
        for label, image in zip(source.labels, source.inputs, strict=True):
            *_, name, _ = made[int(image[0, 0, 0])]
            assert source.classes[label] == unicodedata.normalize("NFC", name)
    finally:
        shutil.rmtree(folder)


def _make(folder: Path, line: str, made: dict[int, tuple[str, ...]]) -> None:
    """Write the file of one line below `folder`, if it can be one; the first pixel tells which one it is."""
    place = Path(line)
    if "\0" in line or place.is_absolute() or ".." in place.parts or not line.strip() or len(made) > 100:
        return
    try:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shade = len(made)
        (folder / place).write_bytes(
            _shaded(shade) if place.suffix.lower() in (".png", ".jfif", ".jpg") else b"no image"
        )
    except (OSError, UnicodeEncodeError):  # a file where a folder should be, or a name that is too long
        return
    made[shade] = place.parts


@cache
def _shaded(shade: int) -> bytes:
    image, file = Image.new("L", (4, 4), 200), io.BytesIO()
    image.putpixel((0, 0), shade)
    image.save(file, "PNG")
    return file.getvalue()
