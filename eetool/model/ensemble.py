"""Exits that answer together with those before them.

The geometric ensemble of Zero Time Waste (arXiv 2106.05409) multiplies the probabilities that exits give, each to a
learned power, times a learned factor per class. Here it is kept up from exit to exit: each multiplies its own with the
*answer* of the exit before, which is an ensemble already. So the weights of all earlier exits shrink or grow together,
where the paper learns one for every pair; and an exit reads one tensor, whatever their number, by its name.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_OWN, _BEFORE = 1.0, 0.5  # powers to begin with


class Ensemble(nn.Module):
    """Logits (N, classes) of an exit and the answer of the one before to a common answer, which are logits too."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        # Powers are positive: softplus of these.
        self.own, self.before = (nn.Parameter(torch.tensor(math.log(math.expm1(x)))) for x in (_OWN, _BEFORE))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, own: Tensor, before: Tensor) -> Tensor:
        """A product of powers of probabilities is a sum of logits, but for a factor that softmax takes out."""
        return functional.softplus(self.own) * own + functional.softplus(self.before) * before + self.bias
