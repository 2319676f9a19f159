"""Labels from files: whole numbers that count classes, judged before anything is made for each class."""

import numpy as np

from eetool.errors import ArtefactError

_HINT = "Labels are the numbers of the classes, from 0, one for each example."
_MOST = np.iinfo(np.int64).max


def whole_labels(where: str, labels: np.ndarray) -> np.ndarray:
    """Return `labels` (n,) as int64; raises ArtefactError where they are no integers, or too large for that."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ArtefactError(f"{where} are {labels.dtype} {labels.shape}, not integers (N,)", _HINT)
    if labels.dtype == np.uint64 and len(labels) and labels.max() > _MOST:
        place = int(labels.argmax())
        raise ArtefactError(f"{where}: label {labels[place]} of example {place} is out of range", _HINT)
    return labels.astype(np.int64)


def numbered_classes(where: str, labels: np.ndarray) -> tuple[str, ...]:
    """Return "0", "1", … up to the largest of `labels`; raises ArtefactError where they are too few for it."""
    most = int(labels.max(initial=-1))
    if most >= len(labels) > 0:
        place = int(labels.argmax())
        raise ArtefactError(
            f"{where}: label {most} of example {place} is out of range: there are {len(labels)} examples",
            "Labels count classes from 0 without gaps, and every class needs an example.",
        )
    return tuple(map(str, range(most + 1)))
