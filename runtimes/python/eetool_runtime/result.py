"""The answer to one input."""

from __future__ import annotations

import numpy as np


class Result:
    """The answer to one input. `exit` counts from 0; the last one is the final exit.

    `gated` is False where a deadline cut the call short: no gate had fired by then, and this is the best answer so far.
    """

    __slots__ = ("_labels", "_temperature", "confidence", "exit", "gated", "latency_ms", "logits")

    def __init__(
        self,
        exit_index: int,
        confidence: float,
        logits: np.ndarray,
        temperature: float,
        labels: tuple[str, ...],
        latency_ms: float,
        gated: bool = True,
    ) -> None:
        self.exit = exit_index
        self.confidence = confidence
        self.logits = logits
        self.latency_ms = latency_ms
        self.gated = gated
        self._temperature = temperature
        self._labels = labels

    @property
    def index(self) -> int:
        """Number of the class with the largest logit."""
        return int(self.logits.argmax())

    @property
    def label(self) -> str:
        """Name of the class with the largest logit."""
        return self._labels[self.index]

    @property
    def probabilities(self) -> np.ndarray:
        """float32 (classes,): softmax of the logits over the exit's temperature."""
        return softmax(self.logits, self._temperature)

    def __repr__(self) -> str:
        flag = "" if self.gated else ", gated=False"
        return f"Result(label={self.label!r}, exit={self.exit}, confidence={self.confidence:.4f}{flag})"


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of logits / temperature over the last axis."""
    # The largest is taken off first: then nothing but differences can overflow, to what has the probability 0.
    with np.errstate(all="ignore"):
        powers = np.exp((logits - logits.max(axis=-1, keepdims=True)) / logits.dtype.type(temperature))
    total: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return total
