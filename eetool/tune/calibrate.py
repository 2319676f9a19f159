"""Temperatures: one scalar per exit that makes its confidences mean what they say."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_LOG_RANGE = (np.log(0.05), np.log(20.0))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Temperature that minimises the cross-entropy of softmax(logits / T) (Guo et al., arXiv 1706.04599).

    Labels are smoothed by 1/(n + 2), Platt's correction for small samples: an exit without an error on the split would
    otherwise ask for T = 0, and every confidence would be 1.

    Args:
        logits: (n, classes).
        labels: int64 (n,).
    """
    n, classes = logits.shape
    smoothing = 1.0 / (n + 2)
    targets = np.full((n, classes), smoothing / (classes - 1))
    targets[np.arange(n), labels] = 1.0 - smoothing
    logits = logits.astype(np.float64)

    def cross_entropy(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum() / n)

    found = minimize_scalar(cross_entropy, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-4})
    return float(np.round(np.exp(found.x), 6))
