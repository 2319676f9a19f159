"""Loss of NACHOS, which trains classes and confidences of branches together (arXiv 2401.13330)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class CostGoal:
    """Cost target of the loss.

    Attributes:
        leaving: cost of an input that leaves at each exit, (exits,).
        limit: largest mean cost; None leaves the cost out of the loss.
    """

    leaving: tuple[float, ...]
    limit: float | None


def learned_loss(
    logits: Sequence[Tensor],
    confidence_logits: Sequence[Tensor],
    labels: Tensor,
    goal: CostGoal,
    support: Tensor | None = None,
) -> Tensor:
    """Return the joint loss of classes and confidences.

    h_i is the confidence of exit i (1 at the final exit) and π_i = h_i Π_{j<i} (1 − h_j). The loss adds up:

    - Σ π_i CE_i;
    - the class-balanced cross-entropy of h_i against the correctness of exit i;
    - the excess of the expected cost over the limit;
    - with `support`, the squared distance of h to the accuracy of each exit on the example's class.

    Two things differ from the published code: the cost carries a gradient, and it includes rejected branches.

    Args:
        logits: (N, classes) of every exit, the final one last.
        confidence_logits: outputs (N,) of the confidence heads of early exits, before the sigmoid.
        labels: int64 (N,).
        goal: cost target.
        support: accuracy by class and exit, (classes, early exits).
    """
    h = torch.stack([*(torch.sigmoid(x) for x in confidence_logits), torch.ones_like(confidence_logits[0])])
    passed = torch.cat([torch.ones_like(h[:1]), (1 - h[:-1]).cumprod(0)])
    share = h * passed  # π, (exits, N)
    errors = torch.stack([functional.cross_entropy(x, labels, reduction="none") for x in logits])
    loss = (share * errors).sum(0).mean()
    for x, confidence in zip(logits, confidence_logits, strict=False):
        right = (x.detach().argmax(1) == labels).float()
        share_right = right.mean().clamp(0.05, 0.95)
        weight = torch.where(right > 0, 0.5 / share_right, 0.5 / (1 - share_right))
        loss = loss + functional.binary_cross_entropy_with_logits(confidence, right, weight=weight)
    if goal.limit is not None:
        leaving = torch.tensor(goal.leaving, device=share.device)
        over = torch.relu((share * leaving[:, None]).sum(0).mean() - goal.limit)
        loss = loss + over / max(abs(goal.leaving[-1] - goal.limit), 1e-6 * goal.leaving[-1])
    if support is not None:
        loss = loss + functional.mse_loss(h[:-1].T, support[labels])
    return loss
