"""Lines and tables of a learning curve."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eetool.cli.output import QUIET, loudness, say, table

if TYPE_CHECKING:
    from eetool.model.history import EpochFigures, TrainingHistory

_MOST_ROWS = 12  # of a table of epochs


class EpochLines:
    """Figures of every epoch on stderr: on a terminal rows of a table, elsewhere a sentence each; none with --quiet.

    Args:
        epochs: number of epochs of the run.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs, self._has_head = epochs, False
        self._quiet, self._terminal = loudness() == QUIET, sys.stderr.isatty()

    def __call__(self, figures: "EpochFigures", seconds: float) -> None:
        """Show the figures of one epoch that took `seconds`."""
        if self._quiet:
            return
        if not self._terminal:
            say(_sentence(figures, self._epochs, seconds))
            return
        if not self._has_head:
            self._has_head = True
            say("every exit: training loss, and accuracy on the split temperature")
            say(_row(("epoch", "loss", *_exit_names(figures), "time")))
        cells = _exit_cells(figures)
        say(_row((f"{figures.epoch}/{self._epochs}", _loss(figures.loss), *cells, f"{seconds:.0f} s")))


def epoch_table(history: "TrainingHistory") -> Any:
    """Return the learning curve as a table; of a long one evenly spaced epochs, the kept one, and the last."""
    n = len(history.epochs)
    step = max(1, -(-n // _MOST_ROWS))
    kept = {history.kept_epoch - 1} if history.kept_epoch else set()
    shown = sorted({*range(n - 1, -1, -step)} | kept)
    heads = ("epoch", "loss", *_exit_names(history.epochs[0]), "")
    rows = [
        (
            str(history.epochs[i].epoch),
            _loss(history.epochs[i].loss),
            *_exit_cells(history.epochs[i]),
            "kept" if i == history.kept_epoch - 1 else "",
        )
        for i in shown
    ]
    return table(dict.fromkeys(heads, "right"), rows)


def _exit_names(figures: "EpochFigures") -> list[str]:
    return [*(f"exit {k}" for k in range(len(figures.training_loss) - 1)), "final exit"]


def _exit_cells(figures: "EpochFigures") -> list[str]:
    """Return training loss and validation accuracy of every exit; without a validation the training accuracy."""
    accuracies = figures.validation_accuracy or figures.training_accuracy
    return [f"{_loss(x)} {_percent(y):>7}" for x, y in zip(figures.training_loss, accuracies, strict=True)]


def _sentence(figures: "EpochFigures", epochs: int, seconds: float) -> str:
    kind = "validation" if figures.validation_accuracy else "training"
    accuracies = figures.validation_accuracy or figures.training_accuracy
    return (
        f"epoch {figures.epoch} of {epochs}: loss {_loss(figures.loss)}; "
        f"training loss of the exits {' / '.join(map(_loss, figures.training_loss))}; "
        f"{kind} accuracy {' / '.join(map(_percent, accuracies))}; {seconds:.0f} s"
    )


def _row(cells: Sequence[str]) -> str:
    first, loss, *exits, time = cells
    return f"{first:>8} {loss:>7} {''.join(f'{cell:>16}' for cell in exits)} {time:>7}"


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
