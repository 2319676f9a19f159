"""Splits of a source: disjoint, fixed, identified by hash."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.data.source import Source
from eetool.data.splits import (
    CERTIFICATE,
    TEMPERATURE,
    TEST,
    THRESHOLD,
    TRAIN,
    recorded_split,
    split_record,
    split_source,
)
from eetool.errors import ArtefactError, UsageError
from eetool_runtime.manifest import Data


@pytest.fixture(scope="module")
def splits(digits: Source) -> dict[str, np.ndarray]:
    return split_source(digits)


@pytest.fixture
def recorded(splits: dict[str, np.ndarray]) -> Data:
    return Data("digits", split_record(splits))


def test_split_source_every_example_is_in_exactly_one_split(digits: Source, splits: dict[str, np.ndarray]) -> None:
    together = np.concatenate(list(splits.values()))
    assert set(splits) == {TRAIN, TEMPERATURE, THRESHOLD, TEST}
    assert np.array_equal(np.sort(together), np.arange(len(digits.labels)))


def test_split_source_digits_sizes_are_fixed(splits: dict[str, np.ndarray]) -> None:
    sizes = {name: len(indices) for name, indices in splits.items()}
    assert sizes == {TRAIN: 879, TEMPERATURE: 126, THRESHOLD: 252, TEST: 540}


def test_split_source_every_split_is_stratified_by_class(digits: Source, splits: dict[str, np.ndarray]) -> None:
    shares = np.bincount(digits.labels) / len(digits.labels)
    for indices in splits.values():
        assert np.abs(np.bincount(digits.labels[indices]) - shares * len(indices)).max() <= 2


def test_split_source_other_numpy_seed_gives_same_splits(digits: Source, splits: dict[str, np.ndarray]) -> None:
    np.random.seed(1)  # default random generator of scikit-learn
    assert split_record(split_source(digits)) == split_record(splits)


def test_split_record_one_other_example_changes_the_hash(splits: dict[str, np.ndarray]) -> None:
    swapped = splits | {TEST: np.sort(np.append(splits[TEST][1:], splits[TRAIN][0]))}
    before, after = split_record(splits), split_record(swapped)
    assert before[TEST].n == after[TEST].n
    assert before[TEST].sha256 != after[TEST].sha256
    assert before[THRESHOLD] == after[THRESHOLD]


def test_recorded_split_matching_record_gives_its_indices(
    digits: Source, splits: dict[str, np.ndarray], recorded: Data
) -> None:
    assert np.array_equal(recorded_split(digits, TEST, recorded), splits[TEST])


def test_recorded_split_model_without_data_raises_artefact_error(digits: Source) -> None:
    with pytest.raises(ArtefactError, match="records no data"):
        recorded_split(digits, TEST, None)


def test_recorded_split_another_source_raises_artefact_error(digits: Source, recorded: Data) -> None:
    with pytest.raises(ArtefactError, match="trained on 'digits', not on 'letters'"):
        recorded_split(replace(digits, name="letters"), TEST, recorded)


def test_recorded_split_changed_examples_raises_artefact_error(digits: Source, recorded: Data) -> None:
    shorter = replace(digits, inputs=digits.inputs[:-1], labels=digits.labels[:-1])
    with pytest.raises(ArtefactError, match="'test' split of 'digits' is not the one"):
        recorded_split(shorter, TEST, recorded)


def test_recorded_split_unknown_split_raises_artefact_error(digits: Source, recorded: Data) -> None:
    with pytest.raises(ArtefactError, match="no 'validation' split"):
        recorded_split(digits, "validation", recorded)


def labelled(training: int, test: int, classes: int = 10) -> Source:
    """Images of one pixel, with an official test set."""
    labels = np.arange(training + test) % classes
    return Source(
        "made", np.zeros((len(labels), 1, 1, 1), np.uint8), labels, tuple(map(str, range(classes))), False, test
    )


def sizes_of(splits: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: len(indices) for name, indices in splits.items()}


def test_split_source_official_test_set_stays_whole_and_5000_are_held_out() -> None:
    source = labelled(50_000, 10_000)
    splits = split_source(source)
    assert sizes_of(splits) == {CERTIFICATE: 2000, THRESHOLD: 2000, TEMPERATURE: 1000, TRAIN: 45_000, TEST: 10_000}
    assert np.array_equal(splits[TEST], np.arange(50_000, 60_000))
    assert np.array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(60_000))
    for name in (CERTIFICATE, THRESHOLD, TEMPERATURE):
        assert len(set(np.bincount(source.labels[splits[name]]))) == 1, "every class alike"


def test_split_source_hold_out_test_takes_half_of_the_test_set() -> None:
    splits = split_source(labelled(50_000, 5_000), hold_out="test")
    assert sizes_of(splits) == {TRAIN: 50_000, THRESHOLD: 1500, TEMPERATURE: 1000, TEST: 2500}
    assert np.array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(55_000))
    assert np.array_equal(splits[TRAIN], np.arange(50_000))


def test_split_source_large_source_has_certificate_split() -> None:
    splits = split_source(labelled(10_000, 0))
    assert sizes_of(splits) == {TEST: 2000, CERTIFICATE: 400, THRESHOLD: 400, TEMPERATURE: 200, TRAIN: 7000}


@pytest.mark.parametrize("hold_out", ["train", "test"])
def test_recorded_split_either_hold_out_is_recognised_by_hash(hold_out: str) -> None:
    source = labelled(2000, 1000)
    splits = split_source(source, hold_out)
    recorded = Data("made", split_record(splits))
    for name, indices in splits.items():
        assert np.array_equal(recorded_split(source, name, recorded), indices)


def test_split_source_hold_out_test_without_test_set_raises_usage_error(digits: Source) -> None:
    with pytest.raises(UsageError, match="no test set of its own"):
        split_source(digits, hold_out="test")


def test_split_source_too_few_examples_of_a_class_raises_artefact_error(digits: Source) -> None:
    labels = digits.labels.copy()
    labels[labels == 7] = 8
    labels[0] = 7
    with pytest.raises(ArtefactError, match="split would be empty or without a class"):
        split_source(replace(digits, labels=labels))


def test_split_source_validation_class_with_one_example_is_for_temperatures(digits: Source) -> None:
    labels, n = digits.labels.copy(), len(digits.labels)
    validation = np.arange(n - 200, n - 100)
    labels[validation[labels[validation] == 7]] = 8
    labels[validation[17]] = 7
    source = replace(digits, labels=labels, official_validation=100, official_test=100)
    splits = split_source(source)
    assert validation[17] in splits[TEMPERATURE]
    assert sorted([*splits[TEMPERATURE], *splits[THRESHOLD]]) == validation.tolist()


@pytest.mark.parametrize(
    ("n_validation", "held_out"),
    [
        (1000, {CERTIFICATE: 400, THRESHOLD: 400, TEMPERATURE: 200}),
        (90, {THRESHOLD: 60, TEMPERATURE: 30}),
    ],
)
def test_split_source_official_validation_set_is_held_out(n_validation: int, held_out: dict[str, int]) -> None:
    source = replace(labelled(500 + n_validation, 300), official_validation=n_validation)
    splits = split_source(source)
    assert sizes_of(splits) == {TRAIN: 500, TEST: 300, **held_out}
    assert np.array_equal(splits[TRAIN], np.arange(500)), "all of the training examples"
    assert np.array_equal(splits[TEST], np.arange(500 + n_validation, 800 + n_validation))
    assert np.array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(800 + n_validation))
    for name, indices in splits.items():
        assert np.array_equal(recorded_split(source, name, Data("made", split_record(splits))), indices)
    with pytest.raises(UsageError, match="has a validation set of its own"):
        split_source(source, hold_out="test")


def test_split_source_too_few_examples_names_the_rarest_class(digits: Source) -> None:
    labels = digits.labels.copy()
    labels[labels == 7] = 8
    labels[0] = 7
    with pytest.raises(ArtefactError) as caught:
        split_source(replace(digits, labels=labels))
    assert caught.value.hint == (
        "Bring more examples: 10 classes take 129 at least, and 4 of each; the fewest of 1797 are 1 of class '7'."
    )


def test_split_source_too_few_examples_names_how_many_it_takes() -> None:
    few, enough = labelled(120, 0), labelled(129, 0)
    with pytest.raises(ArtefactError, match="120 examples are too few, so that the temp") as caught:
        split_source(few)
    assert "10 classes take 129 at least" in (caught.value.hint or "")
    assert "scikit" not in str(caught.value)
    assert len(split_source(enough)[TEMPERATURE]) == 10
