"""Train / temperature / threshold / test: fixed for a source, disjoint, provable by hash."""

import hashlib

import numpy as np

from eetool.data.sources import Source
from eetool.errors import ArtefactError
from eetool_runtime.manifest import Data, Split

TRAIN, TEMPERATURE, THRESHOLD, TEST = "train", "temperature", "threshold", "test"

# Shares of the examples; training takes what is left.
_HELD_OUT = {TEST: 0.30, THRESHOLD: 0.14, TEMPERATURE: 0.07}
# Every model trained on a source must meet the same test split, so the training seed has no say in it.
_SPLIT_SEED = 0


def split_source(source: Source) -> dict[str, np.ndarray]:
    """Sorted int64 indices per split, stratified by label; the same for every model and seed."""
    from sklearn.model_selection import train_test_split

    left = np.arange(len(source.labels))
    splits = {}
    for name, share in _HELD_OUT.items():
        size = int(np.ceil(share * len(source.labels)))
        left, taken = train_test_split(
            left, test_size=size, random_state=_SPLIT_SEED, shuffle=True, stratify=source.labels[left]
        )
        splits[name] = np.sort(taken)
    splits[TRAIN] = np.sort(left)
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
    splits = split_source(source)
    if name not in splits or recorded.splits.get(name) != split_record(splits)[name]:
        raise ArtefactError(
            f"the {name!r} split of {source.name!r} is not the one that the model records",
            "The data or the library that splits it changed since; train the model again.",
        )
    return splits[name]
