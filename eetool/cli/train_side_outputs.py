"""What `eetool train` shows and writes beside the model: augmented images, and the learning curve."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eetool.cli.epoch_lines import EpochLines
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.train_request import TrainRequest

if TYPE_CHECKING:
    from eetool.data.source import Source
    from eetool.model.history import EpochFigures
    from eetool.train.epoch_figures import EpochListener


def check_side_outputs(request: TrainRequest) -> None:
    """Raise the error of an output that could not be written, before anything long begins."""
    if request.show_augmented is not None:
        _check_contact_sheet(request)
    if request.log_dir is not None:
        from eetool.train.tensorboard_log import check_log_folder

        check_log_folder(request.log_dir, request.resume or request.force)


def _check_contact_sheet(request: TrainRequest) -> None:
    from eetool.errors import UsageError
    from eetool.records import check_output

    assert request.show_augmented is not None
    if request.data is None:
        raise UsageError("--show-augmented without --data", "Give the data whose images it draws.")
    if request.show_augmented.suffix != ".png":
        raise UsageError(f"{request.show_augmented} does not end in .png", "Give --show-augmented FILE.png.")
    check_output(request.show_augmented, request.force)


def show_augmentation(request: TrainRequest, source: "Source") -> None:
    """Print how training examples are augmented, and draw some where that was asked for."""
    from eetool.data.augmentation_levels import choose_augmentation

    augmentation = choose_augmentation(source, request.augment, request.mirror, request.erase)
    if request.epochs:
        TerminalProgress().note(f"augmentation {request.augment}: {augmentation}")
    if request.show_augmented is not None:
        from eetool.data.contact_sheet import draw_contact_sheet
        from eetool.records import write_atomic

        write_atomic(request.show_augmented, draw_contact_sheet(source, augmentation, request.seed), request.force)


@contextmanager
def epoch_listener(request: TrainRequest) -> "Iterator[EpochListener]":
    """Yield the function that shows the figures of every epoch, and writes them for TensorBoard where that is asked."""
    show = EpochLines(request.epochs)
    if request.log_dir is None:
        yield show
        return
    from eetool.train.tensorboard_log import TensorBoardLog

    with TensorBoardLog(request.log_dir) as log:

        def both(figures: "EpochFigures", seconds: float) -> None:
            show(figures, seconds)
            log(figures, seconds)

        yield both
