"""What is learned from what: each recipe turns the exits' logits into one loss."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional

Loss = Callable[[Sequence[Tensor], Tensor], Tensor]


def joint_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of all exits, each with weight 1 (BranchyNet, arXiv 1709.01686).

    Args:
        logits: one (N, classes) per exit.
        labels: int64 (N,).
    """
    losses = [functional.cross_entropy(exit_logits, labels) for exit_logits in logits]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


RECIPES: dict[str, Loss] = {"joint": joint_loss}
