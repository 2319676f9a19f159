"""Losses, against their definition."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eetool.model.checkpoint import LossOptions
from eetool.train.recipes import Lesson, exit_weights, joint_loss, make_loss, survival


def test_the_joint_loss_is_the_sum_of_the_cross_entropies_of_all_exits() -> None:
    labels = torch.tensor([0, 2, 1])
    logits = [torch.randn(3, 4) for _ in range(3)]
    expected = -sum(functional.log_softmax(x, 1)[range(3), labels].mean() for x in logits)
    assert torch.allclose(joint_loss(logits, labels), torch.as_tensor(expected))


def test_with_one_exit_it_is_the_plain_cross_entropy() -> None:
    labels, logits = torch.tensor([1, 0]), torch.randn(2, 3)
    assert torch.equal(joint_loss([logits], labels), functional.cross_entropy(logits, labels))


DEPTHS = (0.2, 0.5, 1.0)


def some_logits(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(6, 4, generator=generator).requires_grad_() for _ in DEPTHS]


LESSON = Lesson(torch.tensor([0, 1, 2, 3, 0, 1]), position=0.5)


def softened(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits / temperature, 1)


def test_joint_weighs_exits_as_asked() -> None:
    logits = some_logits()
    loss = make_loss("joint", LossOptions(exit_weights=(3.0, 0.0, 0.5)), DEPTHS)(logits, LESSON)
    expected = 3 * functional.cross_entropy(logits[0], LESSON.labels) + 0.5 * functional.cross_entropy(
        logits[2], LESSON.labels
    )
    assert torch.allclose(loss, expected)


def test_weights_ramp_from_almost_nothing_to_the_share_of_the_cost() -> None:
    options = LossOptions(ramp=True)
    assert exit_weights(options, DEPTHS, 0.0).tolist() == pytest.approx([0.01, 0.01, 1.0])
    assert exit_weights(options, DEPTHS, 1.0).tolist() == pytest.approx(DEPTHS)
    assert exit_weights(LossOptions(ramp=True, exit_weights=(1, 2, 3)), DEPTHS, 0.5).tolist() == pytest.approx(
        [0.505, 1.005, 3.0]
    )


def test_distillation_pulls_early_exits_to_the_deepest_and_not_the_deepest_to_them() -> None:
    logits = some_logits()
    options = LossOptions(distill_share=1.0, distill_temperature=2.0)
    make_loss("distill", options, DEPTHS)(logits, LESSON).backward()
    for early in logits[:-1]:
        # The gradient of T² KL(teacher || student) is T (student − teacher).
        expected = 2.0 * (softened(early, 2.0) - softened(logits[-1], 2.0)) / len(LESSON.labels)
        assert early.grad is not None
        assert torch.allclose(early.grad, expected.detach(), atol=1e-6)
    plain = logits[-1].detach().requires_grad_()
    functional.cross_entropy(plain, LESSON.labels).backward()
    assert logits[-1].grad is not None
    assert torch.allclose(logits[-1].grad, plain.grad), "the deepest exit learns from labels alone"


def test_a_teacher_teaches_the_final_exit_and_shares_the_early_ones_with_it() -> None:
    logits, (answers, *_) = some_logits(), some_logits(1)
    options = LossOptions(distill_share=1.0, distill_temperature=2.0)
    lesson = Lesson(LESSON.labels, 0.5, answers.detach())
    make_loss("distill", options, DEPTHS)(logits, lesson).backward()
    taught = softened(answers, 2.0)
    goals = [(taught + softened(logits[-1], 2.0)) / 2] * 2 + [taught]
    for exit_logits, goal in zip(logits, goals, strict=True):
        expected = 2.0 * (softened(exit_logits, 2.0) - goal) / len(LESSON.labels)
        assert exit_logits.grad is not None
        assert torch.allclose(exit_logits.grad, expected.detach(), atol=1e-6)


def test_survivors_weigh_most_where_they_arrive() -> None:
    sure, unsure = torch.tensor([9.0, 0, 0]), torch.zeros(3)
    weights = survival([torch.stack([sure, unsure])] * 3)
    assert weights[0].tolist() == [1.0, 1.0], "every example reaches the first exit"
    assert weights[1, 1] > 1.9
    assert weights[2, 1] > weights[1, 1]
    assert torch.allclose(weights.mean(1), torch.ones(3))


def test_survivors_count_from_their_part_of_the_run_on() -> None:
    logits = some_logits()
    plain = make_loss("joint", LossOptions(), DEPTHS)(logits, LESSON)
    weighted = make_loss("joint", LossOptions(survivors=0.5), DEPTHS)
    assert torch.equal(weighted(logits, Lesson(LESSON.labels, 0.49)), plain)
    assert not torch.allclose(weighted(logits, LESSON), plain)


def test_survival_is_right_where_nothing_survives() -> None:
    certain = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert not survival([certain] * 3).isnan().any()
