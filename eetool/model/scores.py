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


def confidence(score: str, logits: Sequence[Tensor], temperature: Tensor, early: int, learned: Tensor | None) -> Tensor:
    """Confidence (N,) of the exit whose logits come last in `logits`, behind those of all exits before it.

    Args:
        temperature: a scalar; `learned` and `patience` do not depend on it.
        early: number of early exits.
        learned: what the exit's own confidence head says (N,), before the sigmoid. An exit without one (the final one)
            falls back on the largest probability.
    """
    if score == LEARNED and learned is not None:
        return torch.sigmoid(learned)
    if score == PATIENCE:
        return _patience(logits, early)
    scaled = logits[-1] / temperature  # (N, classes)
    if score == ENTROPY:
        logs = torch.log_softmax(scaled, 1)
        return 1 + (logs.exp() * logs).sum(1) / math.log(scaled.shape[1])
    probabilities = torch.softmax(scaled, 1)
    if score == MARGIN:
        best = probabilities.topk(2, 1).values  # (N, 2)
        return best[:, 0] - best[:, 1]
    return probabilities.amax(1)


def _patience(logits: Sequence[Tensor], early: int) -> Tensor:
    answer = logits[-1].argmax(1)
    streak = torch.ones_like(logits[-1][:, 0])
    total = torch.zeros_like(streak)
    for before in reversed(logits[:-1]):
        streak = streak * (before.argmax(1) == answer).to(streak.dtype)
        total = total + streak
    return total / max(early, 1)
