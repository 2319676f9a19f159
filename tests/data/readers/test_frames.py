"""Clips as folders of numbered images: `frames:DIR`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eetool.data.registry import load_source
from eetool.errors import ArtefactError

TABLE = "clip,frame,label,group,fps\none,1,cat,home,2\none,3,dog,home,2\ntwo,0,cat,garden,2\n"


def clips(folder: Path, table: str = TABLE, numbers: dict[str, list[int]] | None = None) -> str:
    rng = np.random.default_rng(0)
    for clip, own in (numbers or {"one": [1, 2, 3, 4], "two": [1, 2]}).items():
        (folder / clip).mkdir()
        for number in own:
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / clip / f"frame_{number:04}.png")
    (folder / "labels.csv").write_text(table)
    return f"frames:{folder}"


def test_read_frames_labels_hold_until_the_next_row(tmp_path: Path) -> None:
    source = load_source(clips(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 1, 1, 0, 0]
    assert source.inputs.shape == (6, 3, 8, 8)
    assert source.order is not None
    assert (source.order.groups, source.order.period_s) == (("garden", "home"), 0.5)
    assert source.order.sequence.tolist() == [0, 0, 0, 0, 1, 1]


def test_read_frames_missing_numbers_begin_a_new_sequence(tmp_path: Path) -> None:
    source = load_source(clips(tmp_path, numbers={"one": [1, 2, 3, 4, 8, 9], "two": [1, 3]}))
    assert source.order is not None
    assert source.order.sequence.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert any("pause" in note for note in source.notes)


def test_read_frames_in_a_size_are_resized(tmp_path: Path) -> None:
    assert load_source(f"{clips(tmp_path)}@4").inputs.shape == (6, 3, 4, 4)


@pytest.mark.parametrize(
    ("words", "table"),
    [
        ("no lines with the columns", "clip,name\none,cat\n"),
        ("is no folder", "clip,label\none,cat\ntwo,dog\nthree,dog\n"),
        ("no folder as its clip", "clip,label\n../one,cat\ntwo,dog\n"),
        ("is no number of a frame", "clip,frame,label\none,x,cat\ntwo,0,dog\n"),
        ("frame 1 has no label", "clip,frame,label\none,2,cat\ntwo,0,dog\n"),
        ("has a label for this frame", "clip,label\none,cat\none,dog\ntwo,cat\n"),
        ("another group or rate", "clip,frame,label,group\none,0,cat,a\none,2,dog,b\ntwo,0,cat,a\n"),
        ("fps is", "clip,label,fps\none,cat,0\ntwo,dog,0\n"),
    ],
)
def test_read_frames_damaged_tables_raise_artefact_error(tmp_path: Path, words: str, table: str) -> None:
    with pytest.raises(ArtefactError, match=words):
        load_source(clips(tmp_path, table))


def test_read_frames_without_numbers_raises_artefact_error(tmp_path: Path) -> None:
    name = clips(tmp_path)
    (tmp_path / "one/frame_0001.png").rename(tmp_path / "one/first.png")
    with pytest.raises(ArtefactError, match="has no number"):
        load_source(name)
