"""Train / temperature / threshold / certificate / test: fixed for a source, disjoint, provable by hash."""

import hashlib

import numpy as np

from eetool.data.source import Source
from eetool.errors import ArtefactError, UsageError
from eetool_runtime.manifest import Data, Split

TRAIN, TEMPERATURE, THRESHOLD, CERTIFICATE, TEST = "train", "temperature", "threshold", "certificate", "test"

# Shares that are held out; the first split named takes what is left.
_SMALL = {TEST: 0.30, THRESHOLD: 0.14, TEMPERATURE: 0.07}  # too few examples for a certificate
_LARGE = {TEST: 0.20, CERTIFICATE: 0.04, THRESHOLD: 0.04, TEMPERATURE: 0.02}
_OF_TRAINING = {CERTIFICATE: 0.04, THRESHOLD: 0.04, TEMPERATURE: 0.02}
_OF_TEST = {THRESHOLD: 0.30, TEMPERATURE: 0.20}
_LARGE_FROM = 10_000
# Every model trained on a source must meet the same test split, so the training seed has no say in it.
_SPLIT_SEED = 0

FROM_TRAIN, FROM_TEST = "train", "test"
HOLD_OUT = (FROM_TRAIN, FROM_TEST)


def split_source(source: Source, hold_out: str = FROM_TRAIN) -> dict[str, np.ndarray]:
    """Sorted int64 indices per split, stratified by label; the same for every model and seed.

    Args:
        hold_out: where a source has an official test set, what temperatures, thresholds and certificates are fitted on
            comes from the training images (`train`), or, for weights that saw all of these, from the first half of
            the test set (`test`), of which only the rest is then reported on, without a certificate.

    Raises:
        UsageError: `test` was asked for, and the source has no official test set.
        ArtefactError: there are too few examples of a class.
    """
    everything = np.arange(len(source.labels))
    training, official = np.split(everything, [len(everything) - source.official_test])
    if hold_out == FROM_TEST:
        if not len(official):
            raise UsageError(
                f"{source.name} has no test set of its own to hold examples out of", "Use --hold-out train."
            )
        return {TRAIN: training, **_take(source, official, TEST, _OF_TEST)}
    if len(official):
        return {**_take(source, training, TRAIN, _OF_TRAINING), TEST: official}
    return _take(source, everything, TRAIN, _SMALL if len(everything) < _LARGE_FROM else _LARGE)


def _take(source: Source, pool: np.ndarray, rest: str, shares: dict[str, float]) -> dict[str, np.ndarray]:
    """Parts of `pool` by their shares of it; what is left is called `rest`."""
    from sklearn.model_selection import train_test_split

    left, splits = pool, {}
    for name, share in shares.items():
        size = int(np.ceil(share * len(pool)))
        try:
            left, taken = train_test_split(
                left, test_size=size, random_state=_SPLIT_SEED, shuffle=True, stratify=source.labels[left]
            )
        except ValueError as error:  # a class with one example, or more classes than places
            raise ArtefactError(
                f"{source.name}: the {name} split would be empty or without a class: {error}", "Bring more examples."
            ) from None
        splits[name] = np.sort(taken)
    splits[rest] = np.sort(left)
    return splits


def split_record(splits: dict[str, np.ndarray]) -> dict[str, Split]:
    """Size and hash of each split, as checkpoints and manifests carry them."""
    return {
        name: Split(len(indices), hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest())
        for name, indices in sorted(splits.items())
    }


def recorded_split(source: Source, name: str, recorded: Data | None) -> np.ndarray:
    """Indices of the split `name`, proved to be the one that `recorded` (from a model or bundle) names.

    Raises:
        ArtefactError: the model was made from another source or another split of it.
    """
    if recorded is None:
        raise ArtefactError("the model records no data, so its held-out examples cannot be told from its training ones")
    if recorded.source != source.name:
        raise ArtefactError(f"the model was trained on {recorded.source!r}, not on {source.name!r}")
    for hold_out in HOLD_OUT if source.official_test else (FROM_TRAIN,):
        splits = split_source(source, hold_out)
        if name in splits and recorded.splits.get(name) == split_record(splits)[name]:
            return splits[name]
    if name not in recorded.splits:
        raise ArtefactError(f"the model records no {name!r} split of {source.name!r}")
    raise ArtefactError(
        f"the {name!r} split of {source.name!r} is not the one that the model records",
        "The data or the library that splits it changed since; train the model again.",
    )
