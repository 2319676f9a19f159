"""Synthetic streams: probabilities of a cascade on frames whose class changes rarely."""

import numpy as np

from eetool.data.sequences import number_sequences
from eetool.data.source import Source
from eetool.tune.stream_figures import Frames

CLASSES, EXITS, RUN = 3, 3, 20


def labels_in_runs(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return classes (n,) in runs, neighbours differ."""
    steps = rng.integers(1, CLASSES, size=n // RUN + 1)
    return np.repeat(np.cumsum(steps) % CLASSES, RUN)[:n]


def noisy_logits(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Return logits (exits, n, classes); deeper exits are more accurate."""
    strength = np.array([1.2, 1.6, 2.2])[:, None, None]
    return (strength * np.eye(CLASSES)[labels] + rng.normal(size=(EXITS, len(labels), CLASSES))).astype(np.float32)


def frames(groups: int = 4, n: int = 200, seed: int = 0, period_s: float = 0.5) -> Frames:
    """Return frames of `groups` sequences of n frames each."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([labels_in_runs(rng, n) for _ in range(groups)])
    logits = noisy_logits(rng, labels).astype(np.float64)
    powers = np.exp(logits)
    probabilities = (powers / powers.sum(2, keepdims=True)).transpose(1, 0, 2)
    starts = np.arange(groups * n) % n == 0
    return Frames(probabilities, labels, starts, np.arange(groups * n) // n, period_s)


def stream_source(groups: int = 8, n: int = 120, period_s: float | None = 0.5, seed: int = 0) -> Source:
    """Return a source of vectors in order, a sequence of n frames for each group."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([labels_in_runs(rng, n) for _ in range(groups)])
    inputs = (np.eye(CLASSES)[labels] + 0.7 * rng.normal(size=(len(labels), CLASSES))).astype(np.float32)
    names = np.arange(groups * n) // n
    order, _ = number_sequences("streams", names, names, period_s)
    return Source("npz:streams.npz", inputs, labels, ("a", "b", "c"), None, order=order)
