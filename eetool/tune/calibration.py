"""Calibration of confidences: a temperature per exit, and with Platt's method a slope and an offset per exit."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax

TEMPERATURE, PLATT = "temperature", "platt"
METHODS = (TEMPERATURE, PLATT)
_LOG_RANGE = (np.log(0.05), np.log(20.0))
_SLOPES, _OFFSETS = (0.01, 100.0), (-100.0, 100.0)  # a positive slope keeps the order of inputs


@dataclass(frozen=True)
class Calibration:
    """Temperature per exit, and with Platt's method a slope and an offset per exit."""

    temperatures: tuple[float, ...]
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    @property
    def method(self) -> str:
        """`temperature` or `platt`."""
        return PLATT if self.slopes else TEMPERATURE

    def apply(self, odds: np.ndarray) -> np.ndarray:
        """Return confidences by Platt's method from log-odds (exits, n) of the scores."""
        slopes, offsets = (np.array(values)[:, None] for values in (self.slopes, self.offsets))
        confidences: np.ndarray = expit(slopes * odds + offsets)
        return confidences

    def undo(self, confidences: np.ndarray) -> np.ndarray:
        """Return the confidences (exits, n) of the first exits before Platt's method."""
        inside = np.clip(confidences.astype(np.float64), 1e-7, 1 - 1e-7)
        slopes, offsets = (np.array(values)[: len(inside), None] for values in (self.slopes, self.offsets))
        uncalibrated: np.ndarray = expit((np.log(inside / (1 - inside)) - offsets) / slopes)
        return uncalibrated


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that minimises the cross-entropy of softmax(logits / T) (Guo et al., arXiv 1706.04599).

    Labels are smoothed by 1/(n + 2), Platt's correction for small samples. Without it an exit that makes no error on
    the split would get T = 0, and every confidence would be 1.

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

    result = minimize_scalar(cross_entropy, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-4})
    return float(np.round(np.exp(result.x), 6))


def fit_platt(odds: np.ndarray, correct: np.ndarray) -> tuple[float, float]:
    """Return the slope and offset for which sigmoid(slope · odds + offset) estimates correctness (Platt, 1999).

    Targets are Platt's: (right + 1) / (right + 2) and 1 / (wrong + 2). They keep the confidence of an exit without an
    error on the split below 1.

    Args:
        odds: (n,) log-odds of an exit's score.
        correct: bool (n,), correctness of its predictions.
    """
    right = int(correct.sum())
    targets = np.where(correct, (right + 1) / (right + 2), 1 / (len(correct) - right + 2))

    def cross_entropy(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * odds + parameters[1]
        residual = (expit(z) - targets) / len(z)
        value = float((np.logaddexp(0, z) - targets * z).mean())
        return value, np.array([(residual * odds).sum(), residual.sum()])

    result = minimize(cross_entropy, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=(_SLOPES, _OFFSETS))
    slope, offset = np.round(result.x, 6).tolist()
    return slope, offset
