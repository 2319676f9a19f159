"""Lines of a learning curve, on a terminal and elsewhere, and its table."""

import io
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from eetool.cli.epoch_lines import EpochLines, epoch_table
from eetool.model.history import EpochFigures, TrainingHistory

FIGURES = EpochFigures(1, 3.25, (2.0, None), (0.2, 0.3), (1.9, 1.1), (0.25, 0.5))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sys, "stderr", stream)
    show = EpochLines(2)
    show(FIGURES, 4.4)
    show(replace(FIGURES, epoch=2, validation_loss=(), validation_accuracy=()), 61)
    return stream.getvalue().splitlines()


def test_epoch_lines_elsewhere_are_a_sentence_for_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(io.StringIO(), monkeypatch) == [
        "epoch 1 of 2: loss 3.250; training loss of the exits 2.000 / –; validation accuracy 25.0 % / 50.0 %; 4 s",
        "epoch 2 of 2: loss 3.250; training loss of the exits 2.000 / –; training accuracy 20.0 % / 30.0 %; 61 s",
    ]


def test_epoch_lines_on_a_terminal_are_rows_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    legend, *rows = lines(Terminal(), monkeypatch)
    assert "training loss, and accuracy on the split temperature" in legend
    assert [row.split() for row in rows] == [
        ["epoch", "loss", "exit", "0", "final", "exit", "time"],
        ["1/2", "3.250", "2.000", "25.0", "%", "–", "50.0", "%", "4", "s"],
        ["2/2", "3.250", "2.000", "20.0", "%", "–", "30.0", "%", "61", "s"],
    ]
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(("epochs", "kept", "rows"), [(3, 2, 3), (100, 50, 13)])
def test_epoch_table_shows_the_kept_and_the_last_epoch(epochs: int, kept: int, rows: int) -> None:
    curve = tuple(replace(FIGURES, epoch=number) for number in range(1, epochs + 1))
    console = Console(file=io.StringIO(), width=100)
    console.print(epoch_table(TrainingHistory("temperature", 9, kept, curve)))
    shown = [line.split() for line in console.file.getvalue().splitlines() if line.strip()][2:]  # type: ignore[attr-defined]
    assert len(shown) in (rows - 1, rows)
    assert shown[-1][0] == str(epochs)
    assert [line[0] for line in shown if line[-1] == "kept"] == [str(kept)]
