"""Figures of an epoch: those of its training batches, and those of validation examples after it."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eetool.model.early_exit import EarlyExitNet
from eetool.model.history import EpochFigures
from eetool.train.losses import BatchTargets, cross_entropy

EpochListener = Callable[[EpochFigures, float], None]  # receives the figures of every epoch, and its seconds
_DIGITS = 6  # after the decimal point; equal on every machine that gives equal weights, and short


class TrainingTally:
    """Mean loss of the training batches of an epoch, and cross-entropy and accuracy of every exit on them."""

    def __init__(self, exits: int) -> None:
        self._start, self._n, self._loss = time.monotonic(), 0, 0.0
        self._losses, self._correct = torch.zeros(exits), torch.zeros(exits, dtype=torch.int64)

    def add(self, loss: float, logits: Sequence[Tensor], targets: BatchTargets) -> None:
        """Add a batch: its loss, logits (N, classes) of every exit, and its targets."""
        self._n += len(targets.labels)
        self._loss += loss * len(targets.labels)
        with torch.no_grad():
            losses = torch.stack([cross_entropy(x, targets).sum() for x in logits])
            correct = torch.stack([(x.argmax(1) == targets.labels).sum() for x in logits])
            self._losses = self._losses.to(losses.device) + losses  # no synchronisation with a GPU
            self._correct = self._correct.to(correct.device) + correct

    @property
    def seconds(self) -> float:
        """Seconds since the epoch began."""
        return time.monotonic() - self._start

    def figures(self, epoch: int, validation: "ExitResults | None") -> EpochFigures:
        """Return the figures of an epoch, numbered from 1, with those of its validation."""
        return EpochFigures(
            epoch=epoch,
            loss=self._mean([self._loss])[0],
            training_loss=self._mean(self._losses.tolist()),
            training_accuracy=self._mean(self._correct.tolist()),
            validation_loss=_finite(validation.losses) if validation else (),
            validation_accuracy=_finite(validation.accuracies) if validation else (),
        )

    def _mean(self, sums: Sequence[float]) -> tuple[float | None, ...]:
        return _finite([x / self._n if self._n else math.nan for x in sums])


@dataclass(frozen=True)
class ExitResults:
    """Results of every exit on examples.

    Attributes:
        losses: mean cross-entropy of every exit, in nats.
        correct: bool (exits, N), whether the prediction of an exit equals the label.
    """

    losses: list[float]
    correct: Tensor

    @property
    def accuracies(self) -> list[float]:
        """Accuracy of every exit."""
        accuracies: list[float] = self.correct.double().mean(1).tolist()
        return accuracies

    @property
    def scores(self) -> Tensor:
        """Share (N,) of the exits that are correct, for every example."""
        return self.correct.double().mean(0)


def evaluate_exits(net: EarlyExitNet, batches: Iterable[tuple[Tensor, Tensor]]) -> ExitResults:
    """Run every exit of `net` in eval mode, and leave it there.

    Args:
        net: the network.
        batches: inputs (n, …) and labels (n,), on the device of the network.
    """
    net.eval()
    losses, correct = [], []
    with torch.no_grad():
        for inputs, labels in batches:
            logits = [x.float() for x in net.forward_outputs(inputs).logits]
            losses.append(torch.stack([cross_entropy(x, BatchTargets(labels)) for x in logits]).cpu().double().sum(1))
            correct.append(torch.stack([x.argmax(1) == labels for x in logits]).cpu())
    together = torch.cat(correct, 1)  # (exits, N)
    return ExitResults((torch.stack(losses).sum(0) / together.shape[1]).tolist(), together)


def _finite(values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(round(x, _DIGITS) if math.isfinite(x) else None for x in values)
