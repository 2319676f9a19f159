"""Figures of classifiers and cascades, on plain arrays."""

import numpy as np

from eetool_runtime.manifest import NEVER

Thresholds = tuple[float | None, ...]


def softmax_confidence(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The score `max_softmax`: largest probability of softmax(logits / temperature). (N, classes) -> float32 (N,)."""
    scaled = (logits / np.float32(temperature)).astype(np.float32)
    exponents = np.exp(scaled - scaled.max(1, keepdims=True))
    confidence: np.ndarray = exponents.max(1) / exponents.sum(1)
    return confidence


def exits_taken(confidences: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Exit that each input leaves at: the first whose confidence reaches its threshold, else the final one.

    Args:
        confidences: (N early exits or more, examples).
        thresholds: one per early exit; None never fires.

    Returns:
        int64 (examples,).
    """
    limits = np.array([NEVER if t is None else t for t in thresholds])
    fires = confidences[: len(limits)] >= limits[:, None]  # (exits, examples)
    final = np.ones((1, confidences.shape[1]), bool)
    taken: np.ndarray = np.concatenate([fires, final]).argmax(0)
    return taken


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """ECE with equal-width bins: mean |accuracy − confidence| over the bins, by their share (arXiv 1706.04599)."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    confident = np.bincount(place, weights=confidence, minlength=bins)
    right = np.bincount(place, weights=correct.astype(float), minlength=bins)
    return float(np.abs(confident - right).sum() / max(counts.sum(), 1))
