"""Learning curves in a file that is not trusted."""

from dataclasses import replace

import pytest

from eetool.model.history import EpochFigures, TrainingHistory, invalid_history

FIGURES = EpochFigures(1, 2.0, (1.0, 1.0), (0.5, 0.5), (1.0, None), (0.5, 0.6))
HISTORY = TrainingHistory("temperature", 9, 2, (FIGURES, replace(FIGURES, epoch=2)))
ALONE = (replace(FIGURES, validation_loss=(), validation_accuracy=()),)


def test_invalid_history_curves_that_training_writes_are_valid() -> None:
    assert invalid_history(HISTORY, 2) is None
    assert invalid_history(TrainingHistory(None, 0, 1, ALONE), 2) is None


@pytest.mark.parametrize(
    ("words", "history"),
    [
        ("not numbered from 1", replace(HISTORY, epochs=(FIGURES, FIGURES))),
        ("an epoch that its learning curve does not have", replace(HISTORY, kept_epoch=3)),
        ("an epoch that its learning curve does not have", replace(HISTORY, epochs=())),
        ("without a split", replace(HISTORY, split=None)),
        ("more or fewer exits", replace(HISTORY, epochs=ALONE, kept_epoch=1)),
        ("more or fewer exits", replace(HISTORY, kept_epoch=1, epochs=(replace(FIGURES, training_loss=(1.0,)),))),
        ("outside", replace(HISTORY, kept_epoch=1, epochs=(replace(FIGURES, training_accuracy=(0.5, 1.5)),))),
        ("no number", replace(HISTORY, kept_epoch=1, epochs=(replace(FIGURES, loss=float("inf")),))),
    ],
)
def test_invalid_history_other_curves_have_a_reason(words: str, history: TrainingHistory) -> None:
    assert words in str(invalid_history(history, 2))
