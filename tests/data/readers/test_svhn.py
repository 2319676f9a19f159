"""SVHN, from .mat files made here."""

from pathlib import Path

import numpy as np
import pytest
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


def test_read_svhn_label_ten_becomes_zero(svhn: Path) -> None:
    source = load_source(f"svhn:{svhn}")
    assert (source.inputs.shape, source.inputs.dtype) == ((30, 3, 32, 32), np.uint8)
    assert source.labels.tolist()[:11] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (source.official_test, source.mirror) == (10, False)
    pixels = np.random.default_rng(20).integers(0, 256, (32, 32, 3, 20), np.uint8)
    assert np.array_equal(source.inputs[7, 2], pixels[:, :, 2, 7])


@pytest.mark.parametrize("content", [None, b"", b"no .mat file at all" * 20])
def test_read_svhn_missing_or_damaged_file_raises_artefact_error(svhn: Path, content: bytes | None) -> None:
    path = svhn / "test_32x32.mat"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"test_32x32\.mat"):
        load_source(f"svhn:{svhn}")


def test_read_svhn_other_arrays_raise_artefact_error(svhn: Path) -> None:
    savemat(svhn / "train_32x32.mat", {"X": np.zeros((4, 4)), "y": [1]})
    with pytest.raises(ArtefactError, match="X is not uint8"):
        load_source(f"svhn:{svhn}")
    savemat(svhn / "train_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [1]})
    with pytest.raises(ArtefactError, match="one label per image"):
        load_source(f"svhn:{svhn}")


@pytest.mark.parametrize("kind", [np.float64, np.int32])
def test_read_svhn_integer_labels_of_any_dtype_are_read(svhn: Path, kind: type) -> None:
    pixels, labels = np.zeros((32, 32, 3, 20), np.uint8), np.arange(20) % 10 + 1
    savemat(svhn / "train_32x32.mat", {"X": pixels, "y": labels.astype(kind)})
    assert load_source(f"svhn:{svhn}").labels.tolist()[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


@pytest.mark.parametrize("label", [1.5, np.nan, 1e300, 1j, "x", -1, 11, 5 * 10**8, 2**64 - 1])
def test_read_svhn_other_labels_raise_artefact_error(svhn: Path, label: object) -> None:
    pixels, labels = np.zeros((32, 32, 3, 20), np.uint8), np.full(20, label)
    savemat(svhn / "train_32x32.mat", {"X": pixels, "y": labels})
    with pytest.raises(ArtefactError, match=r"not integers|is out of range|no real numbers"):
        load_source(f"svhn:{svhn}")
