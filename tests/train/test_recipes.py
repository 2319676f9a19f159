"""Losses, against their definition."""

import torch
from torch.nn import functional

from eetool.train.recipes import joint_loss


def test_the_joint_loss_is_the_sum_of_the_cross_entropies_of_all_exits() -> None:
    labels = torch.tensor([0, 2, 1])
    logits = [torch.randn(3, 4) for _ in range(3)]
    expected = -sum(functional.log_softmax(x, 1)[range(3), labels].mean() for x in logits)
    assert torch.allclose(joint_loss(logits, labels), torch.as_tensor(expected))


def test_with_one_exit_it_is_the_plain_cross_entropy() -> None:
    labels, logits = torch.tensor([1, 0]), torch.randn(2, 3)
    assert torch.equal(joint_loss([logits], labels), functional.cross_entropy(logits, labels))
