"""Rules of a source: names that no bundle can hold, and labels without a class."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eetool.data.registry import load_source
from eetool.errors import ArtefactError

IMAGES, LABELS = np.zeros((40, 1, 4, 4), np.uint8), np.arange(40) % 2
BAD = ["", "x" * 257, "\x1b[2J", "a\nb", "\x7f", "\x85"]


def saved(path: Path, classes: list[str]) -> str:
    np.savez(path, images=IMAGES, labels=LABELS, classes=classes)
    return f"npz:{path}"


@pytest.mark.parametrize("name", BAD)
def test_load_source_npz_with_unfit_class_name_raises_artefact_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"npz:a\.npz: the name of class 1, '.* fits no bundle") as caught:
        load_source(saved(tmp_path / "a.npz", ["a", name]))
    assert caught.value.message.isprintable()
    assert caught.value.hint == "Rename the class: 1 to 256 characters are needed, no control characters."


@pytest.mark.parametrize("name", [b"\x1b[2J", b"\xff", b"a\nb"])
def test_load_source_folder_with_unfit_class_name_raises_artefact_error(tmp_path: Path, name: bytes) -> None:
    for folder in (b"a", name):
        place = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"photos", folder)))  # noqa: PTH118
        place.mkdir(parents=True)
        Image.new("L", (4, 4)).save(place / "1.png")
    with pytest.raises(ArtefactError, match=r"folder:photos: the name of class .* fits no bundle") as caught:
        load_source(f"folder:{tmp_path / 'photos'}")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("label", [*BAD[2:3], "\x00", "x" * 257])
def test_load_source_tsv_with_unfit_label_raises_artefact_error(tmp_path: Path, label: str) -> None:
    rows = "".join(f"word\t{'a' if i % 2 else label}\n" for i in range(40))
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"tsv:t\.tsv: the name of class \d, '.* fits no bundle"):
        load_source(f"tsv:{tmp_path / 't.tsv'}")


@pytest.mark.parametrize("name", ["x" * 251 + ".npz", "\x1b[2J.npz", os.fsdecode(b"\xff.npz")])
def test_load_source_file_with_unfit_name_raises_artefact_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"the name of the data, 'npz:.* fits no bundle") as caught:
        load_source(saved(tmp_path / name, ["a", "b"]))
    assert caught.value.message.isprintable()
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Rename the file or folder")


def test_load_source_class_names_too_long_together_raises_artefact_error(tmp_path: Path) -> None:
    n = 4_000
    path = tmp_path / "a.npz"
    classes = [f"{i:0256d}" for i in range(n)]
    np.savez(path, images=np.zeros((n, 1, 1, 1), np.uint8), labels=np.arange(n), classes=classes)
    with pytest.raises(ArtefactError, match="the names of 4000 classes are longer than a bundle can hold"):
        load_source(f"npz:{path}")
