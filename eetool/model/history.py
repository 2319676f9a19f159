"""Learning curve of a training run, as checkpoints and documents record it."""

import math
from dataclasses import dataclass

BEST, LAST = "best", "last"
KEEP = (BEST, LAST)


@dataclass(frozen=True)
class EpochFigures:
    """Figures of one epoch; tuples hold one for every exit, the final exit last. None: not finite, or no batch.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean of the loss that the recipe minimises.
        training_loss: mean cross-entropy in nats on the training batches, as they were augmented.
        training_accuracy: accuracy in [0, 1] on the same batches.
        validation_loss: mean cross-entropy in nats on the validation examples.
        validation_accuracy: accuracy in [0, 1] on them.
    """

    epoch: int
    loss: float | None
    training_loss: tuple[float | None, ...]
    training_accuracy: tuple[float | None, ...]
    validation_loss: tuple[float | None, ...]
    validation_accuracy: tuple[float | None, ...]


@dataclass(frozen=True)
class TrainingHistory:
    """Learning curve of a run.

    Attributes:
        split: split of the validation examples; null where there were none.
        examples: their number.
        kept_epoch: epoch whose weights were kept, from 1; 0 for the weights that the run began with.
        epochs: figures of every epoch.
    """

    split: str | None
    examples: int
    kept_epoch: int
    epochs: tuple[EpochFigures, ...]


def invalid_history(history: TrainingHistory, exits: int) -> str | None:
    """Return why no training of a network with this number of exits writes such a history, or None."""
    if [figures.epoch for figures in history.epochs] != list(range(1, len(history.epochs) + 1)):
        return "the epochs of its learning curve are not numbered from 1"
    if not 0 <= history.kept_epoch <= len(history.epochs):
        return "it keeps an epoch that its learning curve does not have"
    if history.examples < 0 or (history.split is None) != (history.examples == 0):
        return "its learning curve has validation examples without a split, or a split without examples"
    for figures in history.epochs:
        training = (figures.training_loss, figures.training_accuracy)
        validation = (figures.validation_loss, figures.validation_accuracy)
        lengths = {len(values) for values in training}, {len(values) for values in validation}
        if lengths != ({exits}, {exits if history.examples else 0}):
            return "its learning curve has figures of more or fewer exits than the network"
        losses = [x for x in (figures.loss, *training[0], *validation[0]) if x is not None]
        accuracies = [x for x in (*training[1], *validation[1]) if x is not None]
        if not all(math.isfinite(x) for x in losses) or not all(0 <= x <= 1 for x in accuracies):
            return "its learning curve has an accuracy outside [0, 1] or a loss that is no number"
    return None
