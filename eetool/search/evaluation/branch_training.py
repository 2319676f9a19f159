"""Training of branches on features of their backbone, which are computed once: seconds, not minutes.

Several branches may read the same tensor, as those of one tap do; a batch of it is then read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eetool.model.branches import Branch
from eetool.search.methods.baselines.nachos_loss import CostGoal, learned_loss
from eetool.tune.cross_fitting import LabelledLogits

BRANCH_BATCH = 32  # branches have few training examples: small batches give more steps
_LEARNING_RATE = 3e-3
_SUPPORT_SHARE = 0.1  # of the examples, on which NACHOS measures the accuracy of each exit by class


@dataclass(frozen=True)
class TapFeatures:
    """Outputs of a backbone on n examples: features for every branch, final logits (n, classes), labels int64 (n,).

    Features may be float16, in which stored ones take half of the memory.
    """

    taps: tuple[Tensor, ...]
    final: Tensor
    labels: Tensor


def train_branches(
    branches: Sequence[Branch], features: TapFeatures, epochs: int, batch: int, seed: int, goal: CostGoal | None = None
) -> None:
    """Train in place, with Adam and a cosine schedule; the same seed gives the same weights.

    With a `goal`, branches have confidence heads and are trained with the loss of NACHOS, see `learned_loss`. Otherwise
    each branch is trained on the labels alone, independently of the others.
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
            rows = _rows(features.taps, chosen)
            outputs = [branch.forward_with_confidence(x) for branch, x in zip(branches, rows, strict=True)]
            labels, logits = features.labels[chosen], [logits for logits, _ in outputs]
            if goal is None:
                loss = torch.stack([functional.cross_entropy(x, labels) for x in logits]).sum()
            else:
                confidence_logits = [x for _, x in outputs if x is not None]
                loss = learned_loss([*logits, features.final[chosen]], confidence_logits, labels, goal, support)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    for branch in branches:
        branch.eval()


@torch.no_grad()
def exit_outputs(branches: Sequence[Branch], features: TapFeatures, batch: int = 512) -> tuple[Tensor, Tensor | None]:
    """Return logits of every exit (exits, n, classes), and learned confidences (early exits, n) in [0, 1] or None."""
    outputs = [
        [branch.forward_with_confidence(chunk.float()) for chunk in torch.split(x, batch)]
        for branch, x in zip(branches, features.taps, strict=True)
    ]
    logits = torch.stack([*(torch.cat([x for x, _ in parts]) for parts in outputs), features.final])
    confidence = [torch.cat([c for _, c in parts if c is not None]) for parts in outputs if parts[0][1] is not None]
    return logits, torch.stack(confidence).sigmoid() if confidence else None


def labelled_outputs(branches: Sequence[Branch], features: TapFeatures) -> LabelledLogits:
    """Return what `exit_outputs` returns, with the labels."""
    logits, learned = exit_outputs(branches, features)
    confidences = None if learned is None else learned.cpu().numpy()
    return LabelledLogits(logits.cpu().numpy(), features.labels.cpu().numpy(), confidences)


def _rows(taps: Sequence[Tensor], chosen: Tensor) -> list[Tensor]:
    """Return the examples `chosen` (n,) of every tensor in float32; equal tensors are read once."""
    read = {id(x): x.index_select(0, chosen).float() for x in {id(x): x for x in taps}.values()}
    return [read[id(x)] for x in taps]


def _support(branches: Sequence[Branch], features: TapFeatures) -> Tensor:
    """Return the accuracy of each exit by class (classes, early exits), on equally many examples of every class."""
    classes = features.final.shape[1]
    each = max(1, int(_SUPPORT_SHARE * len(features.labels) / classes))
    chosen = torch.cat([torch.nonzero(features.labels == c)[:each, 0] for c in range(classes)])
    part = TapFeatures(tuple(x[chosen] for x in features.taps), features.final[chosen], features.labels[chosen])
    for branch in branches:
        branch.eval()
    right = (exit_outputs(branches, part)[0][:-1].argmax(2) == part.labels).float()  # (early exits, n)
    for branch in branches:
        branch.train()
    by_class = [right[:, part.labels == c] for c in range(classes)]
    return torch.stack([x.mean(1) if x.shape[1] else right.mean(1) for x in by_class])
