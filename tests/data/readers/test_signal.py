"""Windows of long recordings: `signal:FILE`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.registry import load_source
from eetool.data.signal_windows import with_windows
from eetool.errors import ArtefactError, EarlyExitError, UsageError

LENGTHS = np.array([40, 30, 40, 50])  # at 10 Hz
ARRAYS: dict[str, Any] = {
    "samples": np.arange(2 * 160, dtype=np.float32).reshape(160, 2),
    "length": LENGTHS,
    "label": np.array([0, 1, 1, 0]),
    "subject": np.array(["x", "y", "x", "y"]),
    "rate": 10.0,
}


def signal(folder: Path, windows: str = "2/0.5", **arrays: Any) -> str:
    kept = {name: array for name, array in {**ARRAYS, **arrays}.items() if array is not None}
    np.savez(folder / "r.npz", **kept)
    return f"signal:{folder / 'r.npz'}@{windows}"


def test_read_signal_windows_stay_inside_recordings(tmp_path: Path) -> None:
    source = load_source(signal(tmp_path))
    order = source.order
    assert order is not None
    # 40 samples give windows at 0, 5 … 20; recordings of a subject follow each other.
    assert source.inputs[:, 0, 0].tolist()[:6] == [0, 10, 20, 30, 40, 140]
    assert source.inputs.shape == (5 + 5 + 3 + 7, 20, 2)
    assert np.array_equal(source.inputs[1], ARRAYS["samples"][5:25])
    assert source.labels.tolist() == [0] * 5 + [1] * 5 + [1] * 3 + [0] * 7
    assert (order.groups, order.period_s) == (("x", "y"), 0.5)
    assert order.sequence.tolist() == [0] * 10 + [1] * 10
    assert source.name == "signal:r.npz@2/0.5"


def test_read_signal_labels_inside_a_window_the_most_frequent_counts(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 1, 0], LENGTHS)
    labels[12:40] = 1
    source = load_source(signal(tmp_path, label=labels))
    assert source.labels[:5].tolist() == [0, 1, 1, 1, 1]
    assert any("labels change inside 3 windows" in note for note in source.notes)


def test_read_signal_test_and_val_mark_official_sets(tmp_path: Path) -> None:
    arrays = {"subject": np.array([0, 1, 2, 3]), "test": np.array([0, 0, 0, 1]), "val": np.array([0, 0, 1, 0])}
    source = load_source(signal(tmp_path, **arrays))
    assert (source.official_test, source.official_validation) == (7, 5)


def test_read_signal_short_recordings_are_skipped_with_a_note(tmp_path: Path) -> None:
    source = load_source(signal(tmp_path, "3.5/0.5"))
    assert any("shorter than a window: 1 recording" in note for note in source.notes)


@pytest.mark.parametrize(
    ("words", "arrays"),
    [
        ("'label' is missing", {"label": None}),
        ("sample 3 is not finite", {"samples": np.where(np.arange(160)[:, None] == 3, np.nan, np.ones((160, 2)))}),
        ("do not add up", {"length": LENGTHS + 1}),
        ("subject is", {"subject": np.arange(3)}),
        ("label is", {"label": np.zeros(7, int)}),
        ("rate is", {"rate": -1.0}),
        ("not floats", {"samples": np.ones((160, 2), np.int16)}),
        ("in two of the training", {"test": np.array([0, 0, 0, 1]), "sequence": np.arange(4)}),
        ("two classes have one name", {"classes": np.array(["a", "a"])}),
    ],
)
def test_read_signal_damaged_arrays_raise_artefact_error(tmp_path: Path, words: str, arrays: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError, match=words):
        load_source(signal(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("words", "windows", "arrays"),
    [
        ("has no rate", "2/0.5", {"rate": None}),
        ("was recorded at 10 Hz", "2/0.5/50", {}),
        ("as long as a window", "20/1", {}),
        ("above 0", "0/1", {}),
        ("says not which windows", "2", {}),
    ],
)
def test_read_signal_impossible_windows_raise_usage_error(
    tmp_path: Path, words: str, windows: str, arrays: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=words):
        load_source(signal(tmp_path, windows, **arrays))


def test_with_windows_options_become_a_part_of_the_name() -> None:
    assert with_windows("signal:r.npz", 2, 0.5, None) == "signal:r.npz@2/0.5"
    assert with_windows("signal:r.npz", 2, 0.5, 50) == "signal:r.npz@2/0.5/50"
    assert with_windows("digits", None, None, None) == "digits"


@pytest.mark.parametrize(
    "options",
    [("digits", 2, 1, None), ("signal:r.npz@2/1", 2, 1, None), ("signal:r.npz", 2, None, None), (None, 2, 1, 1)],
)
def test_with_windows_contradicting_options_raise_usage_error(options: tuple[Any, ...]) -> None:
    with pytest.raises(EarlyExitError):
        with_windows(*options)
