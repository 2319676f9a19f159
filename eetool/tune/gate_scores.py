"""Gate scores on cached logits, equal to those of exported exits (`eetool.model.gate_scores`)."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

from eetool.metrics import softmax_confidence
from eetool.model.gate_scores import ENTROPY, LEARNED, MARGIN, MIN_PROBABILITY, PATIENCE
from eetool.tune.calibration import Calibration

_EDGE = 1e-5  # as in eetool.model.gate_scores


def exit_confidences(
    score: str, logits: np.ndarray, temperatures: Sequence[float], learned: np.ndarray | None = None
) -> np.ndarray:
    """Return the confidence of every exit for every example.

    Args:
        score: one of `eetool.model.gate_scores.SCORES`.
        logits: (exits, n, classes).
        temperatures: one per exit.
        learned: (early exits, n), learned confidences in [0, 1].

    Returns:
        float32 (exits, n).
    """
    if score == PATIENCE:
        return _patience(logits)
    one = {ENTROPY: _certainty, MARGIN: _margin}.get(score, softmax_confidence)
    confidences = [one(x, t) for x, t in zip(logits, temperatures, strict=True)]
    if score == LEARNED:
        assert learned is not None
        confidences = [*learned, confidences[-1]]  # the final exit has no confidence head
    return np.stack(confidences).astype(np.float32)


def calibrated_confidences(
    score: str, logits: np.ndarray, calibration: Calibration, learned: np.ndarray | None = None
) -> np.ndarray:
    """Return calibrated confidences, float32 (exits, n), with Platt's method where `calibration` has it."""
    if not calibration.slopes:
        return exit_confidences(score, logits, calibration.temperatures, learned)
    return calibration.apply(log_odds(score, logits, calibration.temperatures, learned)).astype(np.float32)


def log_odds(
    score: str, logits: np.ndarray, temperatures: Sequence[float], learned: np.ndarray | None = None
) -> np.ndarray:
    """Return log(c / (1 − c)) of the confidences c, float64 (exits, n)."""
    confidences = exit_confidences(score, logits, temperatures, learned).astype(np.float64)
    inside = np.clip(confidences, _EDGE, 1 - _EDGE)
    odds: np.ndarray = np.log(inside) - np.log(1 - inside)
    if score in (ENTROPY, MARGIN, PATIENCE):
        return odds
    for i, (x, t) in enumerate(zip(logits, temperatures, strict=True)):
        if score != LEARNED or i == len(logits) - 1:
            logs = np.sort(log_softmax(x.astype(np.float64) / t, axis=1), axis=1)
            odds[i] = logs[:, -1] - np.maximum(logsumexp(logs[:, :-1], axis=1), np.log(MIN_PROBABILITY))
        else:
            tight = np.clip(confidences[i], 1e-7, 1 - 1e-7)
            odds[i] = np.log(tight / (1 - tight))
    return odds


def _certainty(logits: np.ndarray, temperature: float) -> np.ndarray:
    logs = log_softmax(logits.astype(np.float64) / temperature, axis=1)  # (n, classes)
    certainty: np.ndarray = 1 + (np.exp(logs) * logs).sum(1) / np.log(logits.shape[1])
    return certainty


def _margin(logits: np.ndarray, temperature: float) -> np.ndarray:
    best = np.sort(np.exp(log_softmax(logits.astype(np.float64) / temperature, axis=1)), axis=1)
    margin: np.ndarray = best[:, -1] - best[:, -2]
    return margin


def _patience(logits: np.ndarray) -> np.ndarray:
    predictions = logits.argmax(2)  # (exits, n)
    streak = np.zeros(predictions.shape, np.float32)
    for i in range(1, len(predictions)):
        streak[i] = np.where(predictions[i] == predictions[i - 1], streak[i - 1] + 1, 0)
    return streak / np.float32(max(len(predictions) - 1, 1))
