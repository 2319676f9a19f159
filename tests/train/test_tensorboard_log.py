"""Learning curves as event files of TensorBoard."""

import sys
from pathlib import Path

import pytest

from eetool.errors import MissingError, OutputError
from eetool.model.history import EpochFigures
from eetool.train.tensorboard_log import TensorBoardLog, check_log_folder


def figures(epoch: int, accuracy: float) -> EpochFigures:
    return EpochFigures(epoch, 3.5, (1.5, None), (0.25, 0.5), (), (accuracy, 1.0))


def test_check_log_folder_without_tensorboard_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingError) as missing:
        check_log_folder(tmp_path, may_hold_others=True)
    assert missing.value.hint == 'pip install "eetool[tensorboard]"'


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_log_holds_every_figure_and_replaces_those_of_an_interrupted_run(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard is not installed"
    )
    for run in ([figures(1, 0.1), figures(2, 0.2)], [figures(2, 0.3), figures(3, 0.4)]):
        with TensorBoardLog(tmp_path / "log") as log:
            for epoch in run:
                log(epoch, 2.0)
    events = accumulator.EventAccumulator(str(tmp_path / "log"), purge_orphaned_data=True).Reload()
    steps = [(e.step, round(e.value, 3)) for e in events.Scalars("validation_accuracy/exit 0")]
    assert steps == [(1, 0.1), (2, 0.3), (3, 0.4)]
    assert {"loss", "seconds", "training_loss/exit 0", "validation_accuracy/final exit"} <= set(
        events.Tags()["scalars"]
    )
    assert "training_loss/final exit" not in events.Tags()["scalars"], "it is not finite"

    check_log_folder(tmp_path / "log", may_hold_others=True)
    with pytest.raises(OutputError, match="holds the learning curve of another run"):
        check_log_folder(tmp_path / "log", may_hold_others=False)
