"""Geometric ensembles: the logits of an exit combined with the logits of the exit before.

The ensemble of Zero Time Waste (arXiv 2106.05409) multiplies the probabilities of all exits so far, each raised to a
learned power, and a learned factor per class. Here an exit multiplies its own probabilities with those of the exit
before, which are an ensemble already. The weights of all earlier exits therefore grow or shrink together, whereas the
paper trains one weight for every pair. In return an exit reads one tensor, whatever the number of exits.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_OWN, _BEFORE = 1.0, 0.5  # initial powers


class Ensemble(nn.Module):
    """Combination of the logits (N, classes) of an exit with those of the exit before, which gives logits again."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        # The powers are the softplus of these parameters, hence positive.
        self.own, self.before = (nn.Parameter(torch.tensor(math.log(math.expm1(x)))) for x in (_OWN, _BEFORE))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, own: Tensor, before: Tensor) -> Tensor:
        """Return the weighted sum of logits: a product of powers of probabilities, up to a constant factor."""
        return functional.softplus(self.own) * own + functional.softplus(self.before) * before + self.bias
