"""Prediction of a model for one input."""

from __future__ import annotations

from typing import Optional

import numpy as np

DEVICE, SERVER = "device", "server"


class Result:
    """Prediction for one input.

    Attributes:
        exit: index of the exit where the input left, from 0; the last index is the final exit.
        confidence: at this exit, in [0, 1].
        logits: float32 (classes,).
        latency_ms: duration of the call.
        gated: False where a deadline, or a server that did not answer, ended the call before any gate fired; the result
            is the deepest exit reached.
        where: `device` or `server`: what computed this exit.
        offload: None where no server was needed; `ok` where one answered. Else why none did: `timeout`; `refused` for
            any other failure; `open`, because the last requests failed; `skipped`, because this input was not to be
            sent.
    """

    __slots__ = ("_labels", "_temperature", "confidence", "exit", "gated", "latency_ms", "logits", "offload", "where")

    def __init__(
        self,
        exit_index: int,
        confidence: float,
        logits: np.ndarray,
        temperature: float,
        labels: tuple[str, ...],
        latency_ms: float,
        gated: bool = True,
        where: str = DEVICE,
        offload: Optional[str] = None,
    ) -> None:
        self.exit = exit_index
        self.confidence = confidence
        self.logits = logits
        self.latency_ms = latency_ms
        self.gated = gated
        self.where = where
        self.offload = offload
        self._temperature = temperature
        self._labels = labels

    @property
    def index(self) -> int:
        """Index of the class with the largest logit."""
        return int(self.logits.argmax())

    @property
    def label(self) -> str:
        """Name of the class with the largest logit."""
        return self._labels[self.index]

    @property
    def probabilities(self) -> np.ndarray:
        """Class probabilities, float32 (classes,): softmax of the logits divided by the exit's temperature."""
        return softmax(self.logits, self._temperature)

    def __repr__(self) -> str:
        flag = "" if self.gated else ", gated=False"
        flag += "" if self.where == DEVICE else f", where={self.where!r}"
        return f"Result(label={self.label!r}, exit={self.exit}, confidence={self.confidence:.4f}{flag})"


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the softmax of logits / temperature over the last axis."""
    # The maximum is subtracted first, so that only terms with probability 0 can overflow.
    with np.errstate(all="ignore"):
        powers = np.exp((logits - logits.max(axis=-1, keepdims=True)) / logits.dtype.type(temperature))
    total: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return total
