"""Metrics of classifiers and cascades, on NumPy arrays."""

from collections.abc import Sequence

import numpy as np

from eetool_runtime.result import softmax

Thresholds = tuple[float | None, ...]
_DEGENERATE = 0.99  # share of inputs that leave at one early exit, from which on its gate has no effect


def softmax_confidence(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the gate score `max_softmax`: the largest probability of softmax(logits / temperature).

    Args:
        logits: (N, classes).
        temperature: positive scalar.

    Returns:
        float32 (N,).
    """
    probabilities = softmax(logits.astype(np.float32, copy=False), temperature)
    confidence: np.ndarray = probabilities.max(1)
    return confidence


def exits_taken(confidences: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Return the exit taken by each input: the first whose confidence reaches its threshold, else the final exit.

    Args:
        confidences: (number of early exits or more, examples).
        thresholds: one per early exit; the gate of None never fires.

    Returns:
        int64 (examples,).
    """
    taken = np.full(confidences.shape[1], len(thresholds))
    for index, threshold in reversed(list(enumerate(thresholds))):
        if threshold is not None:
            taken[confidences[index] >= np.float64(threshold)] = index  # compared in 64 bits, as a device does
    return taken


def reliability_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> list[tuple[int, float, float]]:
    """Return count, mean confidence and accuracy of every non-empty bin; bins divide [0, 1] into equal widths."""
    indices = np.clip((confidence * bins).astype(int), 0, bins - 1)
    counts = np.bincount(indices, minlength=bins)
    confidences = np.bincount(indices, weights=confidence, minlength=bins)
    hits = np.bincount(indices, weights=correct.astype(float), minlength=bins)
    return [(int(n), float(c / n), float(h / n)) for n, c, h in zip(counts, confidences, hits, strict=True) if n]


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the ECE (arXiv 1706.04599): mean |accuracy − confidence| of the bins, weighted by their share."""
    filled = reliability_bins(confidence, correct, bins)
    return float(sum(n * abs(accuracy - mean) for n, mean, accuracy in filled) / max(len(confidence), 1))


def auroc(confidence: np.ndarray, correct: np.ndarray) -> float | None:
    """Return the AUROC of the confidence as a predictor of correctness; None where all are correct or all wrong.

    It is the probability that a correct prediction has a higher confidence than a wrong one; ties count half.
    """
    hits, misses = int(correct.sum()), int((~correct).sum())
    if not hits or not misses:
        return None
    from scipy.stats import rankdata  # slow to load

    ranks = rankdata(confidence)
    return float((ranks[correct].sum() - hits * (hits + 1) / 2) / (hits * misses))


def is_chance(correct: np.ndarray, labels: np.ndarray, standard_errors: float = 2) -> bool:
    """Return whether the accuracy is that of naming the most frequent class, within `standard_errors`, or less.

    Args:
        correct: bool (N,), the inputs with a right prediction.
        labels: int (N,), their classes.
        standard_errors: of the accuracy of naming the most frequent class.
    """
    share = float(np.bincount(labels).max()) / len(labels)
    return bool(float(correct.mean()) <= share + standard_errors * (share * (1 - share) / len(labels)) ** 0.5)


def degenerate_exit(exit_shares: Sequence[float] | np.ndarray) -> int | None:
    """Return the early exit where nearly all inputs leave, so that its gate has no effect; None without one.

    Args:
        exit_shares: share of the inputs that leaves at each exit, the final exit included.
    """
    early = np.asarray(exit_shares)[:-1]
    return int(early.argmax()) if early.size and early.max() >= _DEGENERATE else None
