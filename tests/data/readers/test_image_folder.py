"""Folders of images, one per class."""

from pathlib import Path

import pytest
from PIL import Image

from eetool.data.registry import load_source
from eetool.errors import ArtefactError


def put(path: Path, shade: int, mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 1, 2)).save(path)


def test_read_image_folder_every_subfolder_is_a_class(tmp_path: Path) -> None:
    for shade, name in enumerate(("b/1.png", "a/2.png", "a/1.png", "b/0.PNG")):
        put(tmp_path / name, shade)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    source = load_source(f"folder:{tmp_path}")
    assert (source.name, source.classes, source.official_test) == (f"folder:{tmp_path.name}", ("a", "b"), 0)
    assert source.inputs.shape == (4, 3, 5, 6)
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.inputs[:, 0, 0, 0].tolist() == [2, 1, 3, 0], "in the order of their names"


def test_read_image_folder_train_and_test_give_official_test_set_in_grey(tmp_path: Path) -> None:
    for name in ("train/x/1.png", "train/y/1.png", "test/y/1.png"):
        put(tmp_path / name, 7, "L")
    source = load_source(f"folder:{tmp_path}")
    assert (source.inputs.shape, source.official_test) == ((3, 1, 5, 6), 1)
    assert source.labels.tolist() == [0, 1, 1]


def test_read_image_folder_unusable_folder_raises_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_source(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(ArtefactError, match="no images were found"):
        load_source(f"folder:{tmp_path}")
    put(tmp_path / "a" / "1.png", 1)
    put(tmp_path / "b" / "1.png", 1, size=(6, 6))
    with pytest.raises(ArtefactError, match=r"1\.png: 6×6 pixels, where .*1\.png has 6×5"):
        load_source(f"folder:{tmp_path}")
    (tmp_path / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ArtefactError, match=r"1\.png: cannot be read as an image"):
        load_source(f"folder:{tmp_path}")
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(ArtefactError, match="no training example is of class 'b'"):
        load_source(f"folder:{tmp_path}")


def test_read_image_folder_class_in_test_only_raises_artefact_error(tmp_path: Path) -> None:
    put(tmp_path / "train" / "a" / "1.png", 1)
    put(tmp_path / "test" / "b" / "1.png", 1)
    with pytest.raises(ArtefactError, match="holds a class that is not in"):
        load_source(f"folder:{tmp_path}")
