"""Gate scores: the confidence of an exit in [0, 1].

They are computed inside the exported exit, so that a device only compares a number with a threshold.

- `max_softmax`: the largest probability.
- `entropy`: one minus the entropy of the probabilities, relative to its maximum (BranchyNet, arXiv 1709.01686).
- `margin`: the difference of the two largest probabilities.
- `learned`: a separate confidence head (PTEENet, arXiv 2501.02508).
- `patience`: the number of consecutive earlier exits with the same prediction, relative to the number of early exits
  (PABEE, arXiv 2006.04152). A threshold of t / early exits is a patience of t.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SOFTMAX, ENTROPY, MARGIN, LEARNED, PATIENCE = "max_softmax", "entropy", "margin", "learned", "patience"
SCORES = (MAX_SOFTMAX, ENTROPY, MARGIN, LEARNED, PATIENCE)

_EDGE = 1e-5  # distance from 0 and 1 at which confidences are clipped before their log-odds
MIN_PROBABILITY = 1e-30  # smaller probabilities are rounded up to it


def gate_confidence(
    score: str,
    logits: Sequence[Tensor],
    temperature: Tensor,
    early: int,
    learned: Tensor | None,
    platt: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the confidence (N,) of the last exit in `logits`.

    Args:
        score: one of `SCORES`.
        logits: (N, classes) of each exit up to this one.
        temperature: a scalar; `learned` and `patience` do not depend on it.
        early: number of early exits.
        learned: confidence logits (N,) of the exit. An exit without them, such as the final exit, uses the largest
            probability.
        platt: slope and offset, scalars: the confidence is then sigmoid(slope · log-odds + offset) (Platt, 1999).
    """
    if platt is not None:
        slope, offset = platt
        return torch.sigmoid(slope * _log_odds(score, logits, temperature, early, learned) + offset)
    if score == LEARNED and learned is not None:
        return torch.sigmoid(learned)
    if score == PATIENCE:
        return _patience(logits, early)
    scaled = _scale(logits[-1], temperature)
    if score == ENTROPY:
        logs = torch.log_softmax(scaled, 1).clamp_min(math.log(MIN_PROBABILITY))  # 0 · −∞ would be NaN
        return 1 + (logs.exp() * logs).sum(1) / math.log(scaled.shape[1])
    probabilities = torch.softmax(scaled, 1)
    if score == MARGIN:
        best = probabilities.topk(2, 1).values  # (N, 2)
        return best[:, 0] - best[:, 1]
    return probabilities.amax(1)


def _scale(logits: Tensor, temperature: Tensor) -> Tensor:
    """Return logits (N, classes) / temperature with a maximum of 0, so that overflow gives the probability 0."""
    return (logits - logits.amax(1, keepdim=True)) / temperature


def _log_odds(score: str, logits: Sequence[Tensor], temperature: Tensor, early: int, learned: Tensor | None) -> Tensor:
    """Return log(c / (1 − c)) of the confidence c without computing 1 − c, which float32 rounds to 0 for large c."""
    if score == LEARNED and learned is not None:
        return learned
    if score in (ENTROPY, MARGIN, PATIENCE):
        confidence = gate_confidence(score, logits, temperature, early, learned).clamp(_EDGE, 1 - _EDGE)
        return torch.log(confidence) - torch.log(1 - confidence)
    probabilities = torch.softmax(_scale(logits[-1], temperature), 1)
    ordered = probabilities.topk(probabilities.shape[1], 1).values  # (N, classes)
    return torch.log(ordered[:, 0]) - torch.log(ordered[:, 1:].sum(1).clamp_min(MIN_PROBABILITY))


def _patience(logits: Sequence[Tensor], early: int) -> Tensor:
    predictions = logits[-1].argmax(1)
    streak = torch.ones_like(logits[-1][:, 0])
    total = torch.zeros_like(streak)
    for before in reversed(logits[:-1]):
        streak = streak * (before.argmax(1) == predictions).to(streak.dtype)
        total = total + streak
    return total / max(early, 1)
