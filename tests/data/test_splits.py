"""Splits: disjoint, fixed, and provable."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.data.sources import Source
from eetool.data.splits import TEMPERATURE, TEST, THRESHOLD, TRAIN, recorded_split, split_record, split_source
from eetool.errors import ArtefactError
from eetool_runtime.manifest import Data


@pytest.fixture(scope="module")
def splits(digits: Source) -> dict[str, np.ndarray]:
    return split_source(digits)


@pytest.fixture
def recorded(splits: dict[str, np.ndarray]) -> Data:
    return Data("digits", split_record(splits))


def test_every_example_is_in_exactly_one_split(digits: Source, splits: dict[str, np.ndarray]) -> None:
    together = np.concatenate(list(splits.values()))
    assert set(splits) == {TRAIN, TEMPERATURE, THRESHOLD, TEST}
    assert np.array_equal(np.sort(together), np.arange(len(digits.labels)))


def test_sizes_are_fixed_and_the_test_split_is_large_enough_to_measure_on(splits: dict[str, np.ndarray]) -> None:
    sizes = {name: len(indices) for name, indices in splits.items()}
    assert sizes == {TRAIN: 879, TEMPERATURE: 126, THRESHOLD: 252, TEST: 540}


def test_every_split_has_its_share_of_every_class(digits: Source, splits: dict[str, np.ndarray]) -> None:
    shares = np.bincount(digits.labels) / len(digits.labels)
    for indices in splits.values():
        assert np.abs(np.bincount(digits.labels[indices]) - shares * len(indices)).max() <= 2


def test_no_seed_has_a_say_in_the_splits(digits: Source, splits: dict[str, np.ndarray]) -> None:
    np.random.seed(1)  # what scikit-learn draws from where nobody says otherwise
    assert split_record(split_source(digits)) == split_record(splits)


def test_the_record_changes_with_any_example(splits: dict[str, np.ndarray]) -> None:
    swapped = splits | {TEST: np.sort(np.append(splits[TEST][1:], splits[TRAIN][0]))}
    before, after = split_record(splits), split_record(swapped)
    assert before[TEST].n == after[TEST].n
    assert before[TEST].sha256 != after[TEST].sha256
    assert before[THRESHOLD] == after[THRESHOLD]


def test_the_recorded_split_is_given_out(digits: Source, splits: dict[str, np.ndarray], recorded: Data) -> None:
    assert np.array_equal(recorded_split(digits, TEST, recorded), splits[TEST])


def test_a_model_without_data_has_no_held_out_examples(digits: Source) -> None:
    with pytest.raises(ArtefactError, match="records no data"):
        recorded_split(digits, TEST, None)


def test_another_source_is_refused(digits: Source, recorded: Data) -> None:
    with pytest.raises(ArtefactError, match="trained on 'digits', not on 'letters'"):
        recorded_split(replace(digits, name="letters"), TEST, recorded)


def test_changed_examples_are_refused(digits: Source, recorded: Data) -> None:
    shorter = replace(digits, images=digits.images[:-1], labels=digits.labels[:-1])
    with pytest.raises(ArtefactError, match="'test' split of 'digits' is not the one"):
        recorded_split(shorter, TEST, recorded)


def test_an_unknown_split_is_refused(digits: Source, recorded: Data) -> None:
    with pytest.raises(ArtefactError, match="'validation' split"):
        recorded_split(digits, "validation", recorded)
