"""Outputs of a model for held-out examples, from torch or from the runtime."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from eetool.data.rows import Examples, rows_per_pass
from eetool.data.views import Views, inputs_by_name
from eetool.errors import ArtefactError
from eetool.progress import Advance
from eetool.tune.calibration import Calibration
from eetool_runtime import Bundle

# Maps examples (n, …) to logits of every exit (exits, n, classes) and learned confidences (early exits, n).
Answers = Callable[[np.ndarray | Views], tuple[np.ndarray, np.ndarray | None]]
_PASSES = 4  # whose examples are read together, between two steps of the progress


def predict_in_chunks(
    answers_of: Answers, examples: Examples | Views, advance: Advance = lambda steps: None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the outputs for all examples, computed in chunks."""
    logits, learned = [], []
    step = _PASSES * rows_per_pass(examples.shape[1:])
    for i in range(0, len(examples), step):
        answers, confidence = answers_of(examples[i : i + step])
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


class EveryExit(Protocol):
    """A model that computes all exits, such as `eetool_runtime.Model`."""

    @property
    def bundle(self) -> Bundle:
        """Bundle of the model."""

    def every_exit(self, inputs: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return logits (n, classes) and confidence (n,) of every exit for inputs (n, …) by name."""


def runtime_answers(model: EveryExit, calibration: Calibration) -> Answers:
    """Return a function that computes outputs by the runtime, without the calibration of confidences."""
    exits = range(len(model.bundle.manifest.exits))

    def answers_of(images: np.ndarray | Views) -> tuple[np.ndarray, np.ndarray]:
        specs, step = model.bundle.manifest.inputs, rows_per_pass(images.shape[1:])
        chunks = (images[i : i + step] for i in range(0, len(images), step))
        parts = [model.every_exit(inputs_by_name(chunk, specs)) for chunk in chunks]
        logits, confidence = (
            np.stack([np.concatenate([p[i][output] for p in parts]) for i in exits]) for output in (0, 1)
        )
        return logits, calibration.undo(confidence[:-1]) if calibration.slopes else confidence[:-1]

    return answers_of
