"""Rows of folders of images. The first pixel of an image tells which one it is."""

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from eetool.data.source import Source
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

_SIDE = 4
_OTHER = object()  # a file that is no image


def _put(path: Path, shade: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if shade is _OTHER:
        path.write_bytes(b"ftypheic")
        return
    image = Image.new("L", (_SIDE, _SIDE), 200)
    image.putpixel((0, 0), shade)
    image.save(path, "JPEG" if path.suffix == ".jfif" else "PNG", quality=100)


def _show(source: Source) -> Any:
    """Return for every image its class and its first pixel, set by set."""
    ends = (source.training_count, source.training_count + source.official_validation, len(source.labels))
    items = [(source.classes[label], int(x[0, 0, 0])) for label, x in zip(source.labels, source.inputs, strict=True)]
    return items[: ends[0]], items[ends[0] : ends[1]], items[ends[1] :]


def folder(
    files: Mapping[str, Any], change: Callable[[Path], object] = lambda _: None, size: str = ""
) -> Callable[[Path], Any]:
    """Return the reading of a folder with `files`, the shade of each image by its path, in a `size` such as `@4`."""

    def read(place: Path) -> tuple[Any, list[str]]:
        for name, shade in files.items():
            _put(place / name, shade)
        change(place)
        return read_source(f"folder:{place}{size}", _show)

    return read


def _enlarge(place: Path) -> None:
    image = Image.new("L", (30, 20), 2)
    image.paste(200, (20, 0, 30, 20))
    image.save(place / "b/1.png")


def _link(place: Path) -> None:
    (place / "a/2.png").symlink_to(place / "b/1.png")


TWO: dict[str, Any] = {"a/1.png": 1, "b/1.png": 2}
SETS: dict[str, Any] = {"train/a/1.png": 1, "train/b/1.png": 2}
PLAIN = ([("a", 1), ("b", 2)], [], [])
NFD = unicodedata.normalize("NFD", "é")

ROWS = (
    InputRow("`DIR/CLASS/image.png`", ACCEPTED, "the classes in the order of their names", folder(TWO), PLAIN),
    InputRow(
        "`DIR/train/…`, `DIR/val/…` (valid, validation, dev) and `DIR/test/…`, in any case",
        ACCEPTED,
        "`val` is what is held out for temperatures, thresholds and certificates; all of `train` is trained on",
        folder({**SETS, "Val/a/1.png": 3, "Val/b/1.png": 4, "test/a/1.png": 5, "test/b/1.png": 6}),
        ([("a", 1), ("b", 2)], [("a", 3), ("b", 4)], [("a", 5), ("b", 6)]),
    ),
    InputRow(
        "`train` and `val` without `test`",
        CONVERTED,
        "`val` is the test set",
        folder({**SETS, "val/a/1.png": 3}),
        ([("a", 1), ("b", 2)], [], [("a", 3)]),
        "val/ is the test set, because there is no test/",
    ),
    InputRow(
        "images of several sizes, with `folder:DIR@96` or `--input 3x96x96`",
        CONVERTED,
        "resized: the centre by default, or as `--fit` says",
        folder(TWO, _enlarge, "@4"),
        PLAIN,
    ),
    InputRow(
        "images of several sizes, and no size",
        REFUSED,
        "the sizes are said, and what to write",
        folder(TWO, _enlarge),
        "the images have 2 sizes (width×height): 4×4 (1), 30×20 (1)",
    ),
    InputRow(
        "a size of 0, or of more than 4096 pixels",
        REFUSED,
        "no network takes it",
        folder(TWO, size="@0"),
        "sides are 1 to 4096 pixels",
    ),
    InputRow("`train` alone", ACCEPTED, "its folders are the classes", folder(SETS), PLAIN),
    InputRow(
        "another folder beside `train` and `test`",
        CONVERTED,
        "skipped with a warning",
        folder({**SETS, "test/a/1.png": 3, "more/a/1.png": 4}),
        ([("a", 1), ("b", 2)], [], [("a", 3)]),
        "warning: skipped, beside the sets and no set with classes itself",
    ),
    InputRow(
        "another folder beside `train`, without `test` and `val`",
        REFUSED,
        "`train` may be a class or a set",
        folder({**SETS, "car/1.png": 3}),
        "sets and classes cannot be told apart among 'car', 'train'",
    ),
    InputRow(
        "one set under two names, such as `val` and `valid`",
        REFUSED,
        "which one is meant is not known",
        folder({**SETS, "val/a/1.png": 3, "valid/a/1.png": 4}),
        "'val' and 'valid' are both the val set",
    ),
    InputRow(
        "a class in `val` or `test` alone",
        REFUSED,
        "it cannot be learned",
        folder({**SETS, "test/A/1.png": 3}),
        "holds a class that is not in the training set, which has 'a': 'A'",
    ),
    InputRow(
        "hidden files and folders: `.git`, `.ipynb_checkpoints`, `__MACOSX`, `._1.jpg`",
        CONVERTED,
        "skipped",
        folder({**TWO, ".git/x.png": 3, "__MACOSX/x.png": 3, "a/._1.png": _OTHER, ".DS_Store": _OTHER}),
        PLAIN,
        "skipped, hidden: 3 files",
    ),
    InputRow(
        "folders inside the folder of a class",
        CONVERTED,
        "skipped with a warning",
        folder({**TWO, "a/more/1.png": 3, "a/more/deep/2.png": 4}),
        PLAIN,
        "warning: skipped, in a folder inside that of a class: 2 files",
    ),
    InputRow(
        "images beside the folders of classes",
        CONVERTED,
        "skipped with a warning",
        folder({**TWO, "3.png": 3}),
        PLAIN,
        "warning: skipped, an image beside the folders of classes",
    ),
    InputRow(
        "`.jfif`, `.JPG`, `.pgm` and other names of the formats above",
        ACCEPTED,
        "read",
        folder({"a/1.jfif": 200, "b/1.PNG": 2}),
        ([("a", 200), ("b", 2)], [], []),
        "warning: is of one colour only",
    ),
    InputRow(
        "`.heic`, raw files of cameras and other images that are not read",
        CONVERTED,
        "skipped with a warning",
        folder({**TWO, "a/2.heic": _OTHER, "b/2.HEIC": _OTHER}),
        PLAIN,
        "warning: skipped, .heic, which is not read here: convert it to PNG or JPEG: 2 files",
    ),
    InputRow(
        "other files",
        CONVERTED,
        "skipped",
        folder({**TWO, "a/notes.txt": _OTHER, "a/LICENSE": _OTHER}),
        PLAIN,
        "skipped, '.txt', no image",
    ),
    InputRow(
        "links to files and folders",
        ACCEPTED,
        "followed",
        folder({"b/1.png": 2, "a/1.png": 1}, _link),
        ([("a", 1), ("a", 2), ("b", 2)], [], []),
        "warning: 1 copy of other examples with another label",
    ),
    InputRow(
        "a class without images that are read",
        REFUSED,
        "it cannot be learned; the hint says what was skipped in it",
        folder({**TWO, "c/1.heic": _OTHER}),
        "no training example is of class 'c'",
    ),
    InputRow(
        "one class only",
        REFUSED,
        "there is nothing to tell apart",
        folder({"a/1.png": 1, "a/2.png": 2}),
        "all 2 examples are of one class, 'a'",
    ),
    InputRow(
        "classes that differ in case, in width of letters or in spaces around them",
        ACCEPTED,
        "two classes, with a warning",
        folder({"Cat/1.png": 1, "cat/1.png": 2}),
        ([("Cat", 1), ("cat", 2)], [], []),
        "warning: the classes 'Cat' and 'cat' look alike, and are two classes",
    ),
    InputRow(
        "one class in two forms of Unicode, in two sets",
        CONVERTED,
        "the composed form (NFC)",
        folder({"train/é/1.png": 1, "train/b/1.png": 2, f"test/{NFD}/1.png": 3, "test/b/1.png": 4}),
        ([("b", 2), ("é", 1)], [], [("b", 4), ("é", 3)]),
    ),
    InputRow(
        "one class in two forms of Unicode, in one set",
        REFUSED,
        "they are one name",
        folder({"é/1.png": 1, f"{NFD}/1.png": 2}),
        "two folders of one class, 'é'",
    ),
    InputRow(
        "copies of training images in `val` or `test`",
        ACCEPTED,
        "with a warning and their number; copies within a set that is split, and copies with another label, likewise",
        folder({**SETS, "test/a/1.png": 1, "test/b/1.png": 3}),
        ([("a", 1), ("b", 2)], [], [("a", 1), ("b", 3)]),
        "warning: of 2 test examples 1 is also among the training examples",
    ),
)
