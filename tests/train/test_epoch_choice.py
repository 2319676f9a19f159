"""Choice of the epoch whose weights are kept."""

import torch
from torch import Tensor

from eetool.train.epoch_choice import EpochChoice


def scores(correct: int, of: int = 100) -> Tensor:
    """Scores of examples of which the first are correct."""
    return (torch.arange(of) < correct).double()


def kept(keep: str, *epochs: Tensor) -> list[bool]:
    choice = EpochChoice(keep)
    return [choice.add(number, epoch) for number, epoch in enumerate(epochs, 1)]


def test_epoch_choice_clearly_worse_epochs_are_not_kept() -> None:
    assert kept("best", scores(50), scores(70), scores(40), scores(60)) == [True, True, False, False]


def test_epoch_choice_last_of_equals_is_kept() -> None:
    """One of 100 paired examples is within a standard error, and two are not: 1 ± 1 and 2 ± 1.4 percent."""
    assert kept("best", scores(70), scores(69)) == [True, True]
    assert kept("best", scores(70), scores(68)) == [True, False]


def test_epoch_choice_small_steps_down_are_compared_with_the_best() -> None:
    assert kept("best", scores(70), scores(69), scores(68), scores(69)) == [True, True, False, True]


def test_epoch_choice_last_and_unknown_scores_keep_every_epoch() -> None:
    assert kept("last", scores(70), scores(1)) == [True, True]
    choice = EpochChoice("best")
    assert [choice.add(1, None), choice.add(2, None), choice.kept_epoch] == [True, True, 2]
