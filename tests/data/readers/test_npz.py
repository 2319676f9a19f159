"""The user's own arrays: `npz:FILE`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.registry import load_source
from eetool.errors import ArtefactError

IMAGES = np.arange(6 * 2 * 3 * 3, dtype=np.uint8).reshape(6, 2, 3, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def saved(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "mine.npz", **arrays)
    return f"npz:{folder / 'mine.npz'}"


def test_read_npz_images_and_labels_give_a_source(tmp_path: Path) -> None:
    source = load_source(saved(tmp_path, images=IMAGES, labels=LABELS))
    assert (source.name, source.classes, source.official_test) == ("npz:mine.npz", ("0", "1", "2"), 0)
    assert np.array_equal(source.inputs, IMAGES)
    assert source.labels.dtype == np.int64
    assert not source.mirror, "a mirrored image may have another label"


def test_read_npz_test_set_and_class_names_are_read(tmp_path: Path) -> None:
    test = {"test_images": IMAGES[:2] + 1, "test_labels": LABELS[:2]}
    source = load_source(saved(tmp_path, images=IMAGES, labels=LABELS, classes=["a", "b", "c"], **test))
    assert (source.classes, source.official_test) == (("a", "b", "c"), 2)
    assert np.array_equal(source.inputs[6:], IMAGES[:2] + 1)
    assert np.array_equal(source.labels, [*LABELS, 0, 1])


@pytest.mark.parametrize(
    ("words", "arrays"),
    [
        ("'images' is missing", {"labels": LABELS}),
        ("'labels' is missing", {"images": IMAGES}),
        ("not uint8", {"images": IMAGES.astype(np.float32), "labels": LABELS}),
        ("not uint8", {"images": IMAGES[:, 0], "labels": LABELS}),
        ("not integers", {"images": IMAGES, "labels": LABELS.astype(float)}),
        ("not integers", {"images": IMAGES, "labels": LABELS[:, None]}),
        ("6 images and 5 labels", {"images": IMAGES, "labels": LABELS[:5]}),
        ("holds no examples", {"images": IMAGES[:0], "labels": LABELS[:0]}),
        ("label 2 of example 2 is out of range", {"images": IMAGES, "labels": LABELS, "classes": ["a", "b"]}),
        ("label -1 of example 0", {"images": IMAGES, "labels": LABELS - 1}),
        ("no training example is of class 'd'", {"images": IMAGES, "labels": LABELS, "classes": list("abcd")}),
        ("no training example is of class '1'", {"images": IMAGES, "labels": np.array([0, 2, 2, 0, 2, 2])}),
        (
            "test_images are",
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES[:, :1], "test_labels": LABELS},
        ),
    ],
)
def test_read_npz_other_arrays_raise_artefact_error(tmp_path: Path, words: str, arrays: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError, match=words):
        load_source(saved(tmp_path, **arrays))


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04 and no more"])
def test_read_npz_missing_or_damaged_file_raises_artefact_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"mine\.npz"):
        load_source(f"npz:{tmp_path / 'mine.npz'}")


def test_read_npz_object_array_raises_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a readable"):
        load_source(saved(tmp_path, images=np.array([{}, []], dtype=object), labels=LABELS))


@pytest.mark.parametrize(
    ("arrays", "hint"),
    [
        ({"images": IMAGES, "labels": LABELS + 1}, "classes, labels = np.unique(labels, return_inverse=True)"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "Store labels.astype(np.int64)."),
        ({"images": IMAGES, "labels": LABELS > 0}, "Store labels.astype(np.int64)."),
        ({"features": IMAGES, "labels": LABELS}, "Store features.astype(np.float32)."),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array([], str)}, "One name for each class is needed"),
    ],
)
def test_read_npz_arrays_of_another_kind_have_the_line_to_type(
    tmp_path: Path, arrays: dict[str, Any], hint: str
) -> None:
    with pytest.raises(ArtefactError) as caught:
        load_source(saved(tmp_path, **arrays))
    assert hint in str(caught.value.hint)
