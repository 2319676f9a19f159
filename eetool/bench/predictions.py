"""Predictions of every way on all inputs, before anything is timed.

A graph without early exits runs on every input. Of a bundle, every exit runs on every input; the gates of an operating
point then choose among their results, which are those of the same graphs in the cascade.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.example_forms import ModelInput
from eetool.bench.ways import StaticWay
from eetool.errors import ArtefactError
from eetool.metrics import Thresholds, exits_taken
from eetool_runtime.model import Model
from eetool_runtime.result import softmax


@dataclass(frozen=True)
class WayPredictions:
    """Predictions of a way on N inputs.

    Attributes:
        classes: int64 (N,), the most probable class.
        probability: (N,), its probability.
        exits: int64 (N,), the exit where each input left; None for a network without early exits.
    """

    classes: np.ndarray
    probability: np.ndarray
    exits: np.ndarray | None = None

    @property
    def strata(self) -> np.ndarray:
        """Group of each input, int64 (N,): all of a group ran the same components."""
        return np.zeros(len(self.classes), np.int64) if self.exits is None else self.exits


@dataclass(frozen=True)
class ExitPredictions:
    """Predictions of every exit on N inputs, none skipped; arrays are (exits, N).

    Attributes:
        classes: int64, the most probable class.
        probability: its probability.
        confidence: float32, what the gates compare with thresholds.
        finite: bool, False where a logit is NaN or infinite.
    """

    classes: np.ndarray
    probability: np.ndarray
    confidence: np.ndarray
    finite: np.ndarray

    def at(self, thresholds: Thresholds, name: str) -> WayPredictions:
        """Return the predictions at an operating point.

        Raises:
            ArtefactError: a logit is not finite at the exit of an input.
        """
        taken = exits_taken(self.confidence, thresholds)
        inputs = np.arange(len(taken))
        wrong = np.flatnonzero(~self.finite[taken, inputs])
        if len(wrong):
            raise ArtefactError(f"{name}: exit {taken[wrong[0]]} gives NaN for input {wrong[0]}", "Export it anew.")
        return WayPredictions(self.classes[taken, inputs], self.probability[taken, inputs], taken)


def predict_static(way: StaticWay, n_inputs: int, temperature: float) -> WayPredictions:
    """Return the predictions of a graph without early exits; raise ArtefactError where a logit is not finite."""
    classes, probability = np.empty(n_inputs, np.int64), np.empty(n_inputs)
    for index in range(n_inputs):
        logits = way.finite_logits(index)
        classes[index] = logits.argmax()
        probability[index] = softmax(logits, temperature).max()
    return WayPredictions(classes, probability)


def predict_exits(model: Model, inputs: Sequence[ModelInput]) -> ExitPredictions:
    """Return the predictions of every exit of a bundle on N inputs of batch 1."""
    temperatures = model.bundle.variant(model.variant).temperatures
    shape = (len(temperatures), len(inputs))
    classes, probability = np.empty(shape, np.int64), np.empty(shape)
    confidence, finite = np.empty(shape, np.float32), np.empty(shape, bool)
    for i, one in enumerate(inputs):
        for k, (logits, sure) in enumerate(model.every_exit(one)):
            classes[k, i], confidence[k, i] = logits[0].argmax(), sure[0]
            probability[k, i] = softmax(logits[0], temperatures[k]).max()
            finite[k, i] = np.isfinite(logits[0]).all()
    return ExitPredictions(classes, probability, confidence, finite)
