"""Names that no bundle can hold: refused where data is read, with the name escaped."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eetool.data.readers.tsv_text import build_vocabulary
from eetool.data.registry import load_source
from eetool.errors import ArtefactError
from eetool.names import MAX_VOCABULARY_BYTES, find_unfit, select_words, word_bytes
from eetool_runtime.manifest import is_text

IMAGES, LABELS = np.zeros((40, 1, 4, 4), np.uint8), np.arange(40) % 2
BAD = ["", "x" * 257, "\x1b[2J", "a\nb", "\x7f", "\x85"]


def saved(path: Path, classes: list[str]) -> str:
    np.savez(path, images=IMAGES, labels=LABELS, classes=classes)
    return f"npz:{path}"


@pytest.mark.parametrize("name", BAD)
def test_load_source_with_a_class_in_an_archive_that_no_bundle_holds_refuses_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"npz:a\.npz: the name of class 1, '.* fits no bundle") as caught:
        load_source(saved(tmp_path / "a.npz", ["a", name]))
    assert caught.value.message.isprintable()
    assert caught.value.hint == "Rename the class: 1 to 256 characters are needed, no control characters."


@pytest.mark.parametrize("name", [b"\x1b[2J", b"\xff", b"a\nb"])
def test_load_source_with_a_folder_whose_name_no_bundle_holds_refuses_it(tmp_path: Path, name: bytes) -> None:
    for folder in (b"a", name):
        place = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"photos", folder)))  # noqa: PTH118
        place.mkdir(parents=True)
        Image.new("L", (4, 4)).save(place / "1.png")
    with pytest.raises(ArtefactError, match=r"folder:photos: the name of class .* fits no bundle") as caught:
        load_source(f"folder:{tmp_path / 'photos'}")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("label", [*BAD[2:3], "\x00", "x" * 257, ""])
def test_load_source_with_a_label_in_a_table_that_no_bundle_holds_refuses_it(tmp_path: Path, label: str) -> None:
    rows = "".join(f"word\t{'a' if i % 2 else label}\n" for i in range(40))
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"tsv:t\.tsv: the name of class \d, '.* fits no bundle"):
        load_source(f"tsv:{tmp_path / 't.tsv'}")


@pytest.mark.parametrize("name", ["x" * 251 + ".npz", "\x1b[2J.npz", os.fsdecode(b"\xff.npz")])
def test_load_source_of_a_file_whose_name_no_bundle_holds_refuses_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"the name of the data, 'npz:.* fits no bundle") as caught:
        load_source(saved(tmp_path / name, ["a", "b"]))
    assert caught.value.message.isprintable()
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Rename the file or folder")


def test_load_source_with_names_that_are_too_long_together_refuses_them(tmp_path: Path) -> None:
    n = 4_000
    path = tmp_path / "a.npz"
    classes = [f"{i:0256d}" for i in range(n)]
    np.savez(path, images=np.zeros((n, 1, 1, 1), np.uint8), labels=np.arange(n), classes=classes)
    with pytest.raises(ArtefactError, match="the names of 4000 classes are longer than a bundle can hold"):
        load_source(f"npz:{path}")


def test_build_vocabulary_leaves_out_words_that_no_bundle_holds() -> None:
    assert build_vocabulary(["a \x01 \x7f é \ud800", "a \x01 \x7f é \ud800"]) == ("a", "é")


def test_fitting_of_too_many_words_keeps_the_first_that_a_bundle_holds_together() -> None:
    words = [f"{i:0200d}" for i in range(8_000)]
    kept = select_words(words)
    assert list(kept) == words[: len(kept)]
    assert sum(map(word_bytes, kept)) <= MAX_VOCABULARY_BYTES < sum(map(word_bytes, words[: len(kept) + 1]))


def test_unfit_names_the_first_that_no_bundle_holds() -> None:
    assert find_unfit(["cat", "Käse 1"], ["input", "a.b-c_1"]) is None
    assert "'a\\x1b' is no label" in str(find_unfit(["a\x1b"], []))
    assert "'my input' is no name" in str(find_unfit([], ["my input"]))


def test_is_text_takes_what_a_terminal_would_not_obey() -> None:
    assert all(map(is_text, ("a", "é", "猫", " ", "x" * 256)))
    assert not any(map(is_text, (*BAD, "\ud800")))
