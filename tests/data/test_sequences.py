"""Order of examples in time, and splits of whole groups."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.group_splits import take_groups
from eetool.data.registry import load_source
from eetool.data.sequences import number_sequences
from eetool.data.source import Source
from eetool.data.splits import keeps_groups, split_source
from eetool.errors import ArtefactError


def sequences(groups: int, frames: int = 12) -> Source:
    """Return a source of two classes: every group has two sequences with a change of the class in each."""
    n = groups * frames
    sequence = np.arange(n) // (frames // 2)
    order, _ = number_sequences("s", sequence, sequence // 2, 0.5)
    labels = (np.arange(n) // 3) % 2
    return Source(
        "s", np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32), labels, ("a", "b"), None, order=order
    )


def test_number_sequences_names_become_numbers_in_order() -> None:
    order, notes = number_sequences("f", np.array(["b", "b", "a"]), np.array([7, 7, 3]), 0.1)
    assert (order.sequence.tolist(), order.group.tolist(), order.groups) == ([0, 0, 1], [1, 1, 0], ("3", "7"))
    assert notes == ()
    assert order.starts(np.array([1, 2])).tolist() == [True, True]


def test_number_sequences_pause_begins_a_new_sequence() -> None:
    times = np.array([0.0, 0.5, 1.0, 4.0, 4.5, 0.0])
    order, notes = number_sequences("f", np.array([1, 1, 1, 1, 1, 2]), np.zeros(6, int), None, times)
    assert order.sequence.tolist() == [0, 0, 0, 1, 1, 2]
    assert order.period_s == 0.5
    assert "1 pause" in notes[0]


@pytest.mark.parametrize(
    ("words", "sequence", "group", "times"),
    [
        ("goes on at example 2", [1, 2, 1], [0, 0, 0], None),
        ("of two groups from example 1", [1, 1, 2], [0, 1, 1], None),
        ("has no name", ["a", "", "b"], [0, 0, 0], None),
        ("time does not go on at example 1", [1, 1, 2], [0, 0, 0], [1.0, 0.5, 2.0]),
        ("not integers or texts", [1.0, 1.0, 2.0], [0, 0, 0], None),
        ("the time of example 1 is not finite", [1, 1, 2], [0, 0, 0], [0.0, np.nan, 1.0]),
    ],
)
def test_number_sequences_damaged_order_raises_artefact_error(
    words: str, sequence: list[Any], group: list[Any], times: list[float] | None
) -> None:
    with pytest.raises(ArtefactError, match=words):
        number_sequences("f", np.array(sequence), np.array(group), 1.0, None if times is None else np.array(times))


@pytest.mark.parametrize("groups", [4, 9])
def test_split_source_with_groups_keeps_each_in_one_split(groups: int) -> None:
    source = sequences(groups)
    splits = split_source(source)
    assert set(splits) == {"train", "temperature", "threshold", "test"}
    assert keeps_groups(source, splits)
    assert sum(map(len, splits.values())) == len(source.labels)


def test_split_source_with_few_groups_divides_examples() -> None:
    source = sequences(2, frames=60)
    assert not keeps_groups(source, split_source(source))


def test_take_groups_without_a_class_in_the_rest_raises_artefact_error() -> None:
    source = sequences(4)
    assert source.order is not None
    alone = replace(source, labels=source.order.group, classes=tuple("abcd"))
    with pytest.raises(ArtefactError, match="cannot be divided"):
        take_groups(alone, np.arange(len(alone.labels)), "train", {"test": 0.5})


def npz(folder: Path, **arrays: Any) -> str:
    n = 8
    ours = {
        "features": np.arange(3.0 * n).reshape(n, 3),
        "labels": np.arange(n) % 2,
        "sequence": np.arange(n) // 2,
        "group": np.arange(n) // 2,
    }
    np.savez(folder / "s.npz", **{**ours, **arrays})
    return f"npz:{folder / 's.npz'}"


def test_read_npz_with_sequences_has_an_order(tmp_path: Path) -> None:
    order = load_source(npz(tmp_path, period_s=0.2)).order
    assert order is not None
    assert (order.period_s, order.groups) == (0.2, ("0", "1", "2", "3"))


@pytest.mark.parametrize(
    ("words", "arrays"),
    [
        ("sequence is .7,., for 8", {"sequence": np.arange(7)}),
        ("group is float64 .8,., not integers or texts", {"group": np.where(np.arange(8) < 6, 1.0, np.nan)}),
        ("the sequence of example 3 has no name", {"sequence": np.array([*"aab", "", *"ccdd"])}),
        ("period_s is", {"period_s": 0.0}),
        ("period_s is", {"period_s": np.array([0.1, 0.2])}),
        (
            "the group '1' is in two of",
            {
                "test_features": np.ones((2, 3)),
                "test_labels": np.array([0, 1]),
                "test_sequence": np.array([1, 1]),
                "test_group": np.array([1, 1]),
            },
        ),
    ],
)
def test_read_npz_with_damaged_sequences_raises_artefact_error(
    tmp_path: Path, words: str, arrays: dict[str, Any]
) -> None:
    with pytest.raises(ArtefactError, match=words):
        load_source(npz(tmp_path, **arrays))


def test_read_npz_with_a_group_and_no_sequence_raises_artefact_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", features=np.ones((4, 3)), labels=np.array([0, 1, 0, 1]), group=np.arange(4))
    with pytest.raises(ArtefactError, match="'sequence' is missing"):
        load_source(f"npz:{tmp_path / 's.npz'}")
