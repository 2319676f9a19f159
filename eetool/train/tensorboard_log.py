"""Learning curve as event files of TensorBoard, written by its own writer."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from eetool.errors import MissingError, OutputError
from eetool.model.history import EpochFigures

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_EVENTS = "events.out.tfevents.*"  # names that TensorBoard's writer gives


def check_log_folder(folder: Path, may_hold_others: bool) -> None:
    """Check that a learning curve can be written to `folder`.

    Args:
        folder: the folder, which need not exist.
        may_hold_others: curves of an earlier run may lie there.

    Raises:
        MissingError: TensorBoard is not installed.
        OutputError: it is no folder, or holds the curve of another run.
    """
    _writer_class()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is not a folder", "Give --log-dir another place.")
    if not may_hold_others and any(folder.glob(_EVENTS)):
        raise OutputError(
            f"{folder} holds the learning curve of another run", "Give --log-dir a folder of its own, or --force."
        )


class TensorBoardLog:
    """Writer of the figures of every epoch, with the number of the epoch as their step.

    The figures of an interrupted run from the first epoch on that is written again are replaced.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._class = folder, _writer_class()
        self._writer: SummaryWriter | None = None

    def __call__(self, figures: EpochFigures, seconds: float) -> None:
        """Write the figures of an epoch."""
        if self._writer is None:
            try:
                self._writer = self._class(str(self._folder), purge_step=figures.epoch)
            except OSError as error:
                raise OutputError(f"{self._folder}: cannot be written: {error.strerror}") from None
        for name, value in _scalars(figures).items():
            self._writer.add_scalar(name, value, figures.epoch)
        self._writer.add_scalar("seconds", seconds, figures.epoch)
        self._writer.flush()

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _scalars(figures: EpochFigures) -> dict[str, float]:
    """Return the figures by their tags; figures that are not finite are left out."""
    scalars = {"loss": figures.loss}
    for group in ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy"):
        values: tuple[float | None, ...] = getattr(figures, group)
        names = [*(f"exit {k}" for k in range(len(values) - 1)), "final exit"]
        scalars.update({f"{group}/{name}": value for name, value in zip(names, values, strict=False)})
    return {name: value for name, value in scalars.items() if value is not None}


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingError(
            "TensorBoard is not installed, whose files --log-dir writes", 'pip install "eetool[tensorboard]"'
        ) from None
    return SummaryWriter
