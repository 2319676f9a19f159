"""Outputs of a model for held-out examples, from torch or from the runtime."""

from collections.abc import Callable

import numpy as np

from eetool.data.rows import Examples
from eetool.data.views import Views
from eetool.errors import ArtefactError
from eetool.progress import Advance

# Maps examples (n, …) to logits of every exit (exits, n, classes) and learned confidences (early exits, n).
Answers = Callable[[np.ndarray | Views], tuple[np.ndarray, np.ndarray | None]]
_CHUNK = 256  # examples between two steps of the progress


def predict_in_chunks(
    answers_of: Answers, examples: Examples | Views, advance: Advance = lambda steps: None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the outputs for all examples, computed in chunks."""
    logits, learned = [], []
    for i in range(0, len(examples), _CHUNK):
        answers, confidence = answers_of(examples[i : i + _CHUNK])
        _require_finite(answers, i)
        logits.append(answers)
        learned += [] if confidence is None else [confidence]
        advance(answers.shape[1])
    return np.concatenate(logits, 1), np.concatenate(learned, 1) if learned else None


def _require_finite(logits: np.ndarray, first: int) -> None:
    """Raise ArtefactError where logits (exits, n, classes) are not finite: no temperature and no threshold fits them.

    Args:
        logits: of a chunk.
        first: position of its first example.
    """
    bad = np.argwhere(~np.isfinite(logits).all(2))
    if len(bad):
        exit_index, example = bad[0].tolist()
        count = int((~np.isfinite(logits[exit_index, example])).sum())
        raise ArtefactError(
            f"exit {exit_index} gives {count} NaN or infinite logits for example {first + example} of the split",
            "Its graph overflows for this input: look at the input, or export in another precision.",
        )
