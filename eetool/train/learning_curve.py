"""Learning curve of a training run, and the weights of the epoch that is kept."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eetool.model.early_exit import EarlyExitNet
from eetool.model.history import BEST, EpochFigures, TrainingHistory
from eetool.model.module_state import load_state
from eetool.model.spec import TrainingSettings
from eetool.model.weight_values import check_values
from eetool.records import encode
from eetool.train.epoch_choice import EpochChoice
from eetool.train.epoch_figures import TrainingTally, evaluate_exits
from eetool.train.training_examples import ValidationExamples
from eetool.wording import counted
from eetool_runtime.records import decode

_ROUNDED = 1e-6  # figures of epochs are rounded


class LearningCurve:
    """Figures of every epoch, and the weights of the one that is kept.

    Args:
        net: the network.
        settings: of the training.
        validation: examples that every exit is run on after each epoch.
        device: torch device of the network.
    """

    def __init__(
        self,
        net: EarlyExitNet,
        settings: TrainingSettings,
        validation: ValidationExamples | None,
        device: torch.device,
    ) -> None:
        self._net, self._validation, self._device = net, validation, device
        self._batch_size = settings.batch_size
        self._chooses = settings.keep == BEST and validation is not None
        self._choice = EpochChoice(settings.keep)
        self._epochs: list[EpochFigures] = []
        self.start_accuracy: float | None = None  # of the final exit before the first epoch, where that was asked for
        self._kept: dict[str, Tensor] = {}  # weights of the kept epoch, where there is a choice

    def begin(self) -> None:
        """Validate the network before its first epoch, as a candidate for the weights that are kept."""
        if self._validation is None:
            return
        results = evaluate_exits(self._net, self._validation.batches(self._batch_size, self._device))
        self.start_accuracy = results.accuracies[-1]
        if self._chooses:
            self._choice.add(0, results.scores)
            self._kept = _copied(self._net)

    def end_epoch(self, tally: TrainingTally, average: Sequence[Tensor]) -> EpochFigures:
        """Validate the network, keep its weights or those of an earlier epoch, and return the figures.

        Args:
            tally: figures of the training batches.
            average: averaged weights, which are the ones to keep; none where weights are not averaged.
        """
        results = None
        with _with_average(self._net, average):
            if self._validation is not None:
                results = evaluate_exits(self._net, self._validation.batches(self._batch_size, self._device))
            self._epochs.append(tally.figures(len(self._epochs) + 1, results))
            kept = self._choice.add(len(self._epochs), results.scores if results else None)
            if kept and self._chooses:
                self._kept = _copied(self._net)
        return self._epochs[-1]

    @property
    def history(self) -> TrainingHistory | None:
        """The curve; None before the first epoch."""
        if not self._epochs:
            return None
        split, n = (self._validation.split, len(self._validation.examples.labels)) if self._validation else (None, 0)
        return TrainingHistory(split, n, self._choice.kept_epoch, tuple(self._epochs))

    @property
    def harm(self) -> str | None:
        """Why the training did harm to the final exit, in a sentence; None where it did none that is known."""
        history = self.history
        if history is None or self.start_accuracy is None or not history.kept_epoch:
            return None
        now = history.epochs[history.kept_epoch - 1].validation_accuracy[-1]
        if now is None or now >= self.start_accuracy - _ROUNDED:
            return None
        return (
            f"the final exit is right on {100 * now:.1f} % of {counted(history.examples, 'validation example')}, and "
            f"was on {100 * self.start_accuracy:.1f} % with the given weights. A smaller --learning-rate keeps more of "
            "them, and --recipe frozen leaves them as they are"
        )

    @property
    def _last_is_kept(self) -> bool:
        return not self._chooses or self._choice.kept_epoch == len(self._epochs)

    def load_kept(self) -> None:
        """Load the weights of the kept epoch into the network, if they are not those of the last one."""
        if not self._last_is_kept:
            load_state(self._net, self._kept)

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to continue."""
        best = self._choice.best
        return {
            "epochs": json.dumps(encode(self._epochs)),
            "kept_epoch": self._choice.kept_epoch,
            "start": {} if self.start_accuracy is None else {"accuracy": self.start_accuracy},
            "best": {} if best is None else {"scores": best},
            "weights": {} if self._last_is_kept else self._kept,
        }

    def restore(self, stored: dict[str, Any], average: Sequence[Tensor], where: str) -> None:
        """Load what `state` returned, after the network and its averaged weights were loaded.

        Raises:
            ArtefactError: kept weights are not finite; `where` is their file.
            KeyError, TypeError, ValueError, RuntimeError: `stored` is of another network, or no state at all.
        """
        self._epochs = [decode(EpochFigures, item, ValueError) for item in json.loads(stored["epochs"])]
        self._choice.kept_epoch = int(stored["kept_epoch"])
        self._choice.best = stored["best"].get("scores")
        self.start_accuracy = stored.get("start", {}).get("accuracy")
        if not self._last_is_kept:
            self._kept = check_kept(self._net, stored["weights"], where)
        elif self._chooses:
            with _with_average(self._net, average):
                self._kept = _copied(self._net)


def check_kept(net: nn.Module, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return `weights`; raises ValueError where they are not those of `net`, ArtefactError where one is not finite."""
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in net.state_dict().items()}:
        raise ValueError("kept weights of another network")
    check_values(weights, where, "Start without --resume.")
    return weights


def averaged_tensors(net: nn.Module) -> list[Tensor]:
    """Return weights and running statistics, which are averaged; counters are not."""
    return [x for x in net.state_dict().values() if x.is_floating_point()]


def _copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: x.detach().cpu().clone() for name, x in net.state_dict().items()}


@contextmanager
def _with_average(net: nn.Module, average: Sequence[Tensor]) -> Iterator[None]:
    """Run the block with averaged weights in the network, where there are any."""
    tensors = averaged_tensors(net) if average else []
    own = [x.clone() for x in tensors]
    if average:
        torch._foreach_copy_(tensors, list(average))
    try:
        yield
    finally:
        if average:
            torch._foreach_copy_(tensors, own)
