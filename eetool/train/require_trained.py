"""Refusal of a network that is not trained for the data."""

import numpy as np

from eetool.errors import ArtefactError
from eetool.metrics import is_chance
from eetool.wording import counted


def require_trained(name: str, correct: np.ndarray, labels: np.ndarray) -> None:
    """Refuse a network that is no better than naming the most frequent class, by two standard errors.

    Args:
        name: of the network, for the message.
        correct: bool (N,), the held-out examples that full depth classifies correctly.
        labels: int (N,), their classes.

    Raises:
        ArtefactError: it is no better.
    """
    if not is_chance(correct, labels):
        return
    most = float(np.bincount(labels).max() / len(labels))
    raise ArtefactError(
        f"{name} has {100 * float(correct.mean()):.1f} % accuracy on {counted(len(labels), 'held-out example')}, and "
        f"the most frequent class alone is {100 * most:.1f} % of them: it is not trained for these data",
        "Give its trained weights as --weights, and the normalisation they expect as --normalize; or train it first: "
        "eetool train with --exits 0.",
    )
