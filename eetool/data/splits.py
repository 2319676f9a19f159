"""Splits of a source: train, temperature, threshold, certificate and test; fixed, disjoint and identified by hash."""

import hashlib
import shlex

import numpy as np

from eetool.data.group_splits import has_enough_groups, take_groups
from eetool.data.source import Source
from eetool.errors import ArtefactError, UsageError
from eetool.names import quote
from eetool.wording import counted
from eetool_runtime.manifest import Data, Split

TRAIN, TEMPERATURE, THRESHOLD, CERTIFICATE, TEST = "train", "temperature", "threshold", "certificate", "test"
HELD_OUT = f"{TEMPERATURE}+{THRESHOLD}"  # both together, as policies are fitted on them

# Shares of the pool that are held out.
_SMALL = {TEST: 0.30, THRESHOLD: 0.14, TEMPERATURE: 0.07}  # too few examples for a certificate
_LARGE = {TEST: 0.20, CERTIFICATE: 0.04, THRESHOLD: 0.04, TEMPERATURE: 0.02}
_OF_TRAINING = {CERTIFICATE: 0.04, THRESHOLD: 0.04, TEMPERATURE: 0.02}
_OF_TEST = {THRESHOLD: 0.30, TEMPERATURE: 0.20}
# Shares of an official validation set; the rest is for temperatures.
_OF_SMALL_VALIDATION = {THRESHOLD: 2 / 3}
_OF_VALIDATION = {CERTIFICATE: 0.4, THRESHOLD: 0.4}
# Shares of the groups of a source with sequences. There is no certificate: examples of a group are not independent.
_OF_GROUPS = {TEST: 0.25, THRESHOLD: 0.15, TEMPERATURE: 0.10}
_LARGE_FROM = 10_000
_LARGE_VALIDATION_FROM = 1_000  # as many as are held out of the smallest large pool
# Every model of a source must have the same test split, so the training seed must not change it.
_SPLIT_SEED = 0

_NEW_HINT = " On examples that it was not made with, bench and estimate judge it with --new-data."

FROM_TRAIN, FROM_TEST = "train", "test"
HOLD_OUT = (FROM_TRAIN, FROM_TEST)


def split_source(source: Source, hold_out: str = FROM_TRAIN) -> dict[str, np.ndarray]:
    """Split a source, stratified by label; the result is the same for every model and seed.

    A source with sequences is split by whole groups, where there are enough of them: one for each split.

    Args:
        source: the data.
        hold_out: origin of the held-out examples, where the source has an official test set. With `train` the
            examples for temperatures, thresholds and certificates come from the official validation set, or from the
            training images where there is none. Validation examples of a class with too few for every split are
            for temperatures. With `test` they
            come from the first half of the test set, for weights that were trained on all training images; only the
            rest of the test set is then reported on, and there is no certificate.

    Returns:
        Sorted int64 indices by name of the split.

    Raises:
        UsageError: `test` was asked for, and the source has no official test set, or has a validation set.
        ArtefactError: there are too few examples of a class.
    """
    everything = np.arange(len(source.labels))
    n_training = source.training_count
    training, validation, official = np.split(everything, [n_training, n_training + source.official_validation])
    if hold_out == FROM_TEST:
        if len(validation):
            raise UsageError(
                f"{source.name} has a validation set of its own, which is what is held out", "Use --hold-out train."
            )
        if not len(official):
            raise UsageError(
                f"{source.name} has no test set of its own to hold examples out of",
                "Hold out examples of the training set.",
            )
        return {TRAIN: training, **_take(source, official, TEST, _OF_TEST)}
    if len(validation):
        shares = _OF_VALIDATION if len(validation) >= _LARGE_VALIDATION_FROM else _OF_SMALL_VALIDATION
        rare = _of_rare_classes(source, validation, len(shares) + 1)
        rare &= source.order is None  # groups stay whole
        held_out = _take(source, validation[~rare], TEMPERATURE, shares)
        held_out[TEMPERATURE] = np.sort(np.concatenate([held_out[TEMPERATURE], validation[rare]]))
        return {TRAIN: training, **held_out, TEST: official}
    if len(official):
        return {**_take(source, training, TRAIN, _OF_TRAINING), TEST: official}
    return _take(source, everything, TRAIN, _SMALL if len(everything) < _LARGE_FROM else _LARGE)


def _take(source: Source, pool: np.ndarray, rest: str, shares: dict[str, float]) -> dict[str, np.ndarray]:
    """Divide `pool` into splits by their shares of it; the remaining examples form the split `rest`."""
    from sklearn.model_selection import train_test_split

    of_groups = {name: _OF_GROUPS[name] for name in shares if name in _OF_GROUPS}
    if has_enough_groups(source, pool, len(of_groups) + 1):
        return take_groups(source, pool, rest, of_groups)
    remaining, splits = pool, {}
    for name, share in shares.items():
        size = int(np.ceil(share * len(pool)))
        _require_enough(source, pool, remaining, name, shares)
        remaining, taken = train_test_split(
            remaining, test_size=size, random_state=_SPLIT_SEED, shuffle=True, stratify=source.labels[remaining]
        )
        splits[name] = np.sort(taken)
    splits[rest] = np.sort(remaining)
    return splits


def _of_rare_classes(source: Source, pool: np.ndarray, fewest: int) -> np.ndarray:
    """Return bool (n,), the examples of `pool` whose class has fewer than `fewest` there: not one for each split."""
    counts = np.bincount(source.labels[pool], minlength=len(source.classes))
    rare: np.ndarray = counts[source.labels[pool]] < fewest
    return rare


def _require_enough(
    source: Source, pool: np.ndarray, remaining: np.ndarray, name: str, shares: dict[str, float]
) -> None:
    """Raise ArtefactError where a split, or what it leaves, would be without an example of a class."""
    present, counts = np.unique(source.labels[remaining], return_counts=True)
    size = int(np.ceil(shares[name] * len(pool)))
    if len(present) and counts.min() > 1 and len(present) <= size <= len(remaining) - len(present):
        return
    classes = max(len(present), 1)
    needed = int((classes - 1) / min(shares.values())) + 1  # so that the smallest split has one of each class
    raise ArtefactError(
        f"{source.name}: {counted(len(pool), 'example')} are too few, so that the {name} split would be empty or "
        "without a class",
        f"Bring more examples: {counted(classes, 'class', 'classes')} take {needed} at least, and {len(shares) + 1} of "
        f"each{_rarest(source, pool)}.",
    )


def _rarest(source: Source, pool: np.ndarray) -> str:
    """Return which class has the fewest examples in `pool`, as the end of a sentence."""
    present, counts = np.unique(source.labels[pool], return_counts=True)
    if not len(present):
        return ""
    return f"; the fewest of {len(pool)} are {counts.min()} of class {quote(source.classes[present[counts.argmin()]])}"


def keeps_groups(source: Source, splits: dict[str, np.ndarray]) -> bool:
    """Return whether no group has examples in two splits, as streams need it; False without groups."""
    if source.order is None:
        return False
    groups = [group for indices in splits.values() for group in np.unique(source.order.group[indices]).tolist()]
    return len(groups) == len(set(groups))


def held_out_count(splits: dict[str, np.ndarray]) -> int:
    """Return how many examples temperatures and thresholds are fitted on."""
    return len(splits[TEMPERATURE]) + len(splits[THRESHOLD])


def split_record(splits: dict[str, np.ndarray]) -> dict[str, Split]:
    """Return size and hash of each split, as checkpoints and manifests record them."""
    return {
        name: Split(len(indices), hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest())
        for name, indices in sorted(splits.items())
    }


def recorded_split(source: Source, name: str, recorded: Data | None) -> np.ndarray:
    """Return the indices of the split `name`, checked by hash against the record of a model or bundle.

    Raises:
        ArtefactError: the record is missing, or names another source or another split of it.
    """
    if recorded is None:
        raise ArtefactError(
            "the model records no data, so its held-out examples cannot be identified",
            "`eetool train MODEL --data SOURCE` records them, also with --epochs 0.",
        )
    if recorded.source != source.name:
        raise ArtefactError(
            f"the model was trained on {recorded.source!r}, not on {source.name!r}",
            f"Give --data {_as_option(recorded.source)}, or train on these data: `eetool train MODEL --data SOURCE`."
            f"{_NEW_HINT if name == TEST else ''}",
        )
    for hold_out in HOLD_OUT if source.official_test and not source.official_validation else (FROM_TRAIN,):
        splits = split_source(source, hold_out)
        if name in splits and recorded.splits.get(name) == split_record(splits)[name]:
            return splits[name]
    if name not in recorded.splits:
        raise ArtefactError(
            f"the model records no {name!r} split of {source.name!r}", _without_split(name, source, recorded)
        )
    now, then = len(source.labels), sum(split.n for split in recorded.splits.values())
    changed = (
        f"it had {counted(then, 'example')} and has {now}"
        if now != then
        else "its order, labels or library changed since"
    )
    raise ArtefactError(
        f"the {name!r} split of {source.name!r} is not the one that the model records: {changed}",
        "The model was trained on other examples of the same classes. Give those, or train again: "
        f"`eetool train MODEL --data {_as_option(source.name)}`.{_NEW_HINT if name == TEST else ''}",
    )


def _as_option(name: str) -> str:
    return shlex.quote(name)


def _without_split(name: str, source: Source, recorded: Data) -> str:
    """Return the hint for a split that the model was trained without."""
    if name != CERTIFICATE:
        return f"It records {', '.join(recorded.splits)}. Train again: `eetool train MODEL --data SOURCE`."
    if source.order is not None:
        return "Examples of one group are not independent, as a certificate needs them. Leave --certify out."
    return (
        f"A certificate takes a split of its own, which sources of at least {_LARGE_FROM} examples have (this one has "
        f"{len(source.labels)}), or a validation set of at least {_LARGE_VALIDATION_FROM}. "
        "`eetool tune` without --certify fits the other points."
    )
