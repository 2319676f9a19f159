"""Multinomial logistic regression with a penalty on squared weights, whose strength held-out examples choose."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Factors of half the sum of squared weights, for features of deviation 1; each fit begins with the one before.
PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4)
_ITERATIONS = 200
_HELD_OUT = 5  # one of so many examples of each class chooses the strength


@dataclass(frozen=True)
class FittedClassifier:
    """A linear classifier.

    Attributes:
        weight: (classes, features).
        bias: (classes,), zeros where it has none.
        penalty: strength that was chosen.
    """

    weight: Tensor
    bias: Tensor
    penalty: float


def fit_logistic_regression(features: Tensor, labels: Tensor, classes: int, has_bias: bool = True) -> FittedClassifier:
    """Fit a classifier: strengths are compared by the loss on every fifth example of a class, then all are used.

    Args:
        features: float32 (n, features).
        labels: int64 (n,).
        classes: number of classes; one without examples is possible.
        has_bias: the classifier has biases.
    """
    center = features.mean(0) if has_bias else torch.zeros(features.shape[1])
    scale = (features - center).square().mean(0).sqrt()
    scale[scale < 1e-6 * scale.max().clamp_min(1e-30)] = 1.0  # constant features
    scaled = (features - center) / scale
    held = _every_fifth(labels)
    losses, solution = [], _Solution(classes, features.shape[1], has_bias)
    for penalty in PENALTIES:
        solution.fit(scaled[~held], labels[~held], penalty)
        losses.append(solution.loss(scaled[held], labels[held]) if held.any() else 0.0)
    best = PENALTIES[int(np.argmin(losses))]
    solution = _Solution(classes, features.shape[1], has_bias)
    solution.fit(scaled, labels, best)
    weight = solution.weight.detach() / scale
    return FittedClassifier(weight, solution.bias.detach() - weight @ center, best)


def _every_fifth(labels: Tensor) -> Tensor:
    """Return bool (n,), True for every fifth example of each class."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in set(labels.tolist()):
        held[torch.nonzero(labels == label)[:, 0][_HELD_OUT - 1 :: _HELD_OUT]] = True
    return held


class _Solution:
    """Weights and biases, which one fit takes over from the one before."""

    def __init__(self, classes: int, features: int, has_bias: bool) -> None:
        self.weight = torch.zeros(classes, features, requires_grad=True)
        self.bias = torch.zeros(classes, requires_grad=has_bias)

    def fit(self, features: Tensor, labels: Tensor, penalty: float) -> None:
        free = [x for x in (self.weight, self.bias) if x.requires_grad]
        search = torch.optim.LBFGS(free, max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            value = self._loss(features, labels) + penalty / 2 * self.weight.square().sum()
            torch.autograd.backward(value)
            return value

        search.step(loss)  # type: ignore[no-untyped-call]

    def loss(self, features: Tensor, labels: Tensor) -> float:
        with torch.no_grad():
            return float(self._loss(features, labels))

    def _loss(self, features: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(functional.linear(features, self.weight, self.bias), labels)
