"""Figures of classifiers and cascades, on plain arrays."""

import numpy as np
from scipy.stats import rankdata

from eetool_runtime.manifest import NEVER
from eetool_runtime.result import softmax

Thresholds = tuple[float | None, ...]


def softmax_confidence(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The score `max_softmax`: largest probability of softmax(logits / temperature). (N, classes) -> float32 (N,)."""
    probabilities = softmax(logits.astype(np.float32, copy=False), temperature)
    confidence: np.ndarray = probabilities.max(1)
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


def reliability_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> list[tuple[int, float, float]]:
    """Count, mean confidence and accuracy of every equal-width bin of [0, 1] that is not empty, in order."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    confident = np.bincount(place, weights=confidence, minlength=bins)
    right = np.bincount(place, weights=correct.astype(float), minlength=bins)
    return [(int(n), float(c / n), float(r / n)) for n, c, r in zip(counts, confident, right, strict=True) if n]


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """ECE with equal-width bins: mean |accuracy − confidence| over the bins, by their share (arXiv 1706.04599)."""
    found = reliability_bins(confidence, correct, bins)
    return float(sum(n * abs(right - sure) for n, sure, right in found) / max(len(confidence), 1))


def auroc(confidence: np.ndarray, correct: np.ndarray) -> float | None:
    """Probability that a right answer is surer than a wrong one, ties counting half; null without both kinds."""
    right, wrong = int(correct.sum()), int((~correct).sum())
    if not right or not wrong:
        return None
    ranks = rankdata(confidence)
    return float((ranks[correct].sum() - right * (right + 1) / 2) / (right * wrong))
