"""Branches of a candidate, trained on what its backbone says at the taps, computed once: seconds instead of minutes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eetool.model.branches import Branch

_LEARNING_RATE = 3e-3
_SUPPORT_SHARE = 0.1  # of the examples, on which NACHOS measures how well each class does at each exit


@dataclass(frozen=True)
class TapFeatures:
    """What a backbone says about n examples: features at every tap, final logits (n, classes), labels int64 (n,)."""

    taps: tuple[Tensor, ...]
    final: Tensor
    labels: Tensor


@dataclass(frozen=True)
class CostGoal:
    """Cost of an input that leaves at each exit (exits,), and what the mean should not exceed; for NACHOS' loss."""

    leaving: tuple[float, ...]
    limit: float | None


def train_branches(
    branches: Sequence[Branch], features: TapFeatures, epochs: int, batch: int, seed: int, goal: CostGoal | None = None
) -> None:
    """Train in place, with Adam and a cosine schedule; the same seed gives the same weights.

    With a `goal` branches have confidence heads and learn both as in NACHOS, see `learned_loss`; otherwise each learns
    the labels by itself, and it makes no difference that they do so together.
    """
    parameters = [p for branch in branches for p in branch.parameters()]
    if not parameters or not epochs:
        return
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    steps = epochs * -(-len(features.labels) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for branch in branches:
        branch.train()
    for epoch in range(epochs):
        support = _support(branches, features) if goal is not None and 2 * epoch >= epochs else None
        order = torch.randperm(len(features.labels), generator=generator).to(features.labels.device)
        for chosen in torch.split(order, batch):
            if len(chosen) < 2:  # batch normalisation needs two
                continue
            answers = [
                branch.forward_with_confidence(x[chosen]) for branch, x in zip(branches, features.taps, strict=True)
            ]
            labels, logits = features.labels[chosen], [logits for logits, _ in answers]
            if goal is None:
                loss = torch.stack([functional.cross_entropy(x, labels) for x in logits]).sum()
            else:
                sure = [said for _, said in answers if said is not None]
                loss = learned_loss([*logits, features.final[chosen]], sure, labels, goal, support)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    for branch in branches:
        branch.eval()


def learned_loss(
    logits: Sequence[Tensor], sure: Sequence[Tensor], labels: Tensor, goal: CostGoal, support: Tensor | None = None
) -> Tensor:
    """Classes and confidences together, as NACHOS trains them (arXiv 2401.13330).

    With h the confidence of exit i (1 at the final exit) and π_i = h_i Π_{j<i} (1 − h_j): Σ π_i CE_i, plus the
    class-balanced cross-entropy of h_i against whether exit i is right, plus what the expected cost exceeds the limit
    by, plus, with `support` (classes, early exits), the squared distance of h to how often each exit is right about
    the example's class. Different from the published code, the cost carries a gradient and holds rejected branches.

    Args:
        logits: (N, classes) of every exit, the final one last.
        sure: what the confidence heads of early exits say (N,), before the sigmoid.
    """
    h = torch.stack([*(torch.sigmoid(x) for x in sure), torch.ones_like(sure[0])])  # (exits, N)
    passed = torch.cat([torch.ones_like(h[:1]), (1 - h[:-1]).cumprod(0)])
    share = h * passed  # π, (exits, N)
    errors = torch.stack([functional.cross_entropy(x, labels, reduction="none") for x in logits])
    loss = (share * errors).sum(0).mean()
    for x, said in zip(logits, sure, strict=False):
        right = (x.detach().argmax(1) == labels).float()
        share_right = right.mean().clamp(0.05, 0.95)
        weight = torch.where(right > 0, 0.5 / share_right, 0.5 / (1 - share_right))
        loss = loss + functional.binary_cross_entropy_with_logits(said, right, weight=weight)
    if goal.limit is not None:
        leaving = torch.tensor(goal.leaving, device=share.device)
        over = torch.relu((share * leaving[:, None]).sum(0).mean() - goal.limit)
        loss = loss + over / max(abs(goal.leaving[-1] - goal.limit), 1e-6 * goal.leaving[-1])
    if support is not None:
        loss = loss + functional.mse_loss(h[:-1].T, support[labels])
    return loss


@torch.no_grad()
def exit_answers(branches: Sequence[Branch], features: TapFeatures, batch: int = 512) -> tuple[Tensor, Tensor | None]:
    """Logits of every exit (exits, n, classes), and learned confidences (early exits, n) in [0, 1] where there are."""
    made = [
        [branch.forward_with_confidence(chunk) for chunk in torch.split(x, batch)]
        for branch, x in zip(branches, features.taps, strict=True)
    ]
    logits = torch.stack([*(torch.cat([x for x, _ in parts]) for parts in made), features.final])
    said = [torch.cat([s for _, s in parts if s is not None]) for parts in made if parts[0][1] is not None]
    return logits, torch.stack(said).sigmoid() if said else None


def _support(branches: Sequence[Branch], features: TapFeatures) -> Tensor:
    """How often each exit is right about each class (classes, early exits), on as many examples of every class."""
    classes = features.final.shape[1]
    each = max(1, int(_SUPPORT_SHARE * len(features.labels) / classes))
    chosen = torch.cat([torch.nonzero(features.labels == c)[:each, 0] for c in range(classes)])
    part = TapFeatures(tuple(x[chosen] for x in features.taps), features.final[chosen], features.labels[chosen])
    for branch in branches:
        branch.eval()
    right = (exit_answers(branches, part)[0][:-1].argmax(2) == part.labels).float()  # (early exits, n)
    for branch in branches:
        branch.train()
    held = [right[:, part.labels == c] for c in range(classes)]
    return torch.stack([x.mean(1) if x.shape[1] else right.mean(1) for x in held])
