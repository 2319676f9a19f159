"""Gate scores: how sure an exit is, in [0, 1], computed inside the exported exit, so that a device only compares.

`max_softmax` the largest probability; `entropy` one minus the entropy of the probabilities as a share of the largest
possible (BranchyNet, arXiv 1709.01686); `margin` the two largest probabilities' difference; `learned` a head of its
own (PTEENet, arXiv 2501.02508); `patience` how many exits before this one, without a break, gave the same answer, as
a share of the early exits (PABEE, arXiv 2006.04152), so that a threshold of t / early exits is a patience of t.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SOFTMAX, ENTROPY, MARGIN, LEARNED, PATIENCE = "max_softmax", "entropy", "margin", "learned", "patience"
SCORES = (MAX_SOFTMAX, ENTROPY, MARGIN, LEARNED, PATIENCE)


_EDGE = 1e-5  # how near to 0 and 1 log-odds are told apart, of scores that have none of their own
LEAST = 1e-30  # the smallest probability that counts


def confidence(
    score: str,
    logits: Sequence[Tensor],
    temperature: Tensor,
    early: int,
    learned: Tensor | None,
    platt: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Confidence (N,) of the exit whose logits come last in `logits`, behind those of all exits before it.

    Args:
        temperature: a scalar; `learned` and `patience` do not depend on it.
        early: number of early exits.
        learned: what the exit's own confidence head says (N,), before the sigmoid. An exit without one (the final one)
            falls back on the largest probability.
        platt: slope and offset, scalars: the confidence is then sigmoid(slope · log-odds + offset) (Platt, 1999).
    """
    if platt is not None:
        slope, offset = platt
        return torch.sigmoid(slope * _log_odds(score, logits, temperature, early, learned) + offset)
    if score == LEARNED and learned is not None:
        return torch.sigmoid(learned)
    if score == PATIENCE:
        return _patience(logits, early)
    scaled = _scaled(logits[-1], temperature)
    if score == ENTROPY:
        logs = torch.log_softmax(scaled, 1).clamp_min(math.log(LEAST))  # 0 times minus infinity is no number
        return 1 + (logs.exp() * logs).sum(1) / math.log(scaled.shape[1])
    probabilities = torch.softmax(scaled, 1)
    if score == MARGIN:
        best = probabilities.topk(2, 1).values  # (N, 2)
        return best[:, 0] - best[:, 1]
    return probabilities.amax(1)


def _scaled(logits: Tensor, temperature: Tensor) -> Tensor:
    """(N, classes), of which 0 is the largest: what overflows, however small the temperature, has the probability 0."""
    return (logits - logits.amax(1, keepdim=True)) / temperature


def _log_odds(score: str, logits: Sequence[Tensor], temperature: Tensor, early: int, learned: Tensor | None) -> Tensor:
    """log(c / (1 − c)) of the confidence c, without subtracting from 1 what float32 has rounded to 1."""
    if score == LEARNED and learned is not None:
        return learned
    if score in (ENTROPY, MARGIN, PATIENCE):
        sure = confidence(score, logits, temperature, early, learned).clamp(_EDGE, 1 - _EDGE)
        return torch.log(sure) - torch.log(1 - sure)
    probabilities = torch.softmax(_scaled(logits[-1], temperature), 1)
    ordered = probabilities.topk(probabilities.shape[1], 1).values  # (N, classes)
    return torch.log(ordered[:, 0]) - torch.log(ordered[:, 1:].sum(1).clamp_min(LEAST))


def _patience(logits: Sequence[Tensor], early: int) -> Tensor:
    answer = logits[-1].argmax(1)
    streak = torch.ones_like(logits[-1][:, 0])
    total = torch.zeros_like(streak)
    for before in reversed(logits[:-1]):
        streak = streak * (before.argmax(1) == answer).to(streak.dtype)
        total = total + streak
    return total / max(early, 1)
