"""SVHN's .mat files and folders of images, from files made here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from eetool.data.registry import load_source
from eetool.errors import ArtefactError


@pytest.fixture
def svhn(tmp_path: Path) -> Path:
    for name, n in (("train", 20), ("test", 10)):
        pixels = np.random.default_rng(n).integers(0, 256, (32, 32, 3, n), np.uint8)
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]
        savemat(tmp_path / f"{name}_32x32.mat", {"X": pixels, "y": labels})
    return tmp_path


def test_svhn_is_read_with_its_tens_as_zeros(svhn: Path) -> None:
    source = load_source(f"svhn:{svhn}")
    assert (source.inputs.shape, source.inputs.dtype) == ((30, 3, 32, 32), np.uint8)
    assert source.labels.tolist()[:11] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (source.official_test, source.mirror) == (10, False)
    pixels = np.random.default_rng(20).integers(0, 256, (32, 32, 3, 20), np.uint8)
    assert np.array_equal(source.inputs[7, 2], pixels[:, :, 2, 7])


@pytest.mark.parametrize("content", [None, b"", b"no .mat file at all" * 20])
def test_a_missing_or_damaged_mat_file_is_refused_by_name(svhn: Path, content: bytes | None) -> None:
    path = svhn / "test_32x32.mat"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"test_32x32\.mat"):
        load_source(f"svhn:{svhn}")


def test_a_mat_file_of_something_else_is_refused(svhn: Path) -> None:
    savemat(svhn / "train_32x32.mat", {"X": np.zeros((4, 4)), "y": [1]})
    with pytest.raises(ArtefactError, match="X is not uint8"):
        load_source(f"svhn:{svhn}")
    savemat(svhn / "train_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [1]})
    with pytest.raises(ArtefactError, match="one label per image"):
        load_source(f"svhn:{svhn}")


@pytest.mark.parametrize("kind", [np.float64, np.int32])
def test_labels_of_svhn_may_be_whole_numbers_of_any_type(svhn: Path, kind: type) -> None:
    pixels, labels = np.zeros((32, 32, 3, 20), np.uint8), np.arange(20) % 10 + 1
    savemat(svhn / "train_32x32.mat", {"X": pixels, "y": labels.astype(kind)})
    assert load_source(f"svhn:{svhn}").labels.tolist()[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


@pytest.mark.parametrize("label", [1.5, np.nan, 1e300, 1j, "x", -1, 11, 5 * 10**8, 2**64 - 1])
def test_other_labels_of_svhn_are_refused(svhn: Path, label: object) -> None:
    pixels, labels = np.zeros((32, 32, 3, 20), np.uint8), np.full(20, label)
    savemat(svhn / "train_32x32.mat", {"X": pixels, "y": labels})
    with pytest.raises(ArtefactError, match=r"not integers|is out of range|no real numbers"):
        load_source(f"svhn:{svhn}")


def put(path: Path, shade: int, mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 1, 2)).save(path)


def test_every_folder_is_a_class(tmp_path: Path) -> None:
    for shade, name in enumerate(("b/1.png", "a/2.png", "a/1.png", "b/0.PNG")):
        put(tmp_path / name, shade)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    source = load_source(f"folder:{tmp_path}")
    assert (source.name, source.classes, source.official_test) == (f"folder:{tmp_path.name}", ("a", "b"), 0)
    assert source.inputs.shape == (4, 3, 5, 6)
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.inputs[:, 0, 0, 0].tolist() == [2, 1, 3, 0], "in the order of their names"


def test_train_and_test_folders_give_an_official_test_set_and_grey_stays_grey(tmp_path: Path) -> None:
    for name in ("train/x/1.png", "train/y/1.png", "test/y/1.png"):
        put(tmp_path / name, 7, "L")
    source = load_source(f"folder:{tmp_path}")
    assert (source.inputs.shape, source.official_test) == ((3, 1, 5, 6), 1)
    assert source.labels.tolist() == [0, 1, 1]


def test_folders_that_cannot_be_learned_from_are_refused(tmp_path: Path) -> None:
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


def test_a_class_of_the_test_set_alone_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "train" / "a" / "1.png", 1)
    put(tmp_path / "test" / "b" / "1.png", 1)
    with pytest.raises(ArtefactError, match="holds a class that is not in"):
        load_source(f"folder:{tmp_path}")
