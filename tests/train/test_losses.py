"""Losses, against their definition."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eetool.model.spec import LossOptions
from eetool.train.losses import (
    BatchTargets,
    ExitDepth,
    confidence_loss,
    exit_weights,
    joint_loss,
    make_loss,
    survival_weights,
)


def test_joint_loss_is_the_sum_of_cross_entropies() -> None:
    labels = torch.tensor([0, 2, 1])
    logits = [torch.randn(3, 4) for _ in range(3)]
    expected = -sum(functional.log_softmax(x, 1)[range(3), labels].mean() for x in logits)
    assert torch.allclose(joint_loss(logits, labels), torch.as_tensor(expected))


def test_joint_loss_one_exit_is_the_cross_entropy() -> None:
    labels, logits = torch.tensor([1, 0]), torch.randn(2, 3)
    assert torch.equal(joint_loss([logits], labels), functional.cross_entropy(logits, labels))


SHARES = (0.2, 0.5, 1.0)
DEPTHS = [ExitDepth(share, share + 0.1) for share in SHARES]


def some_logits(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(6, 4, generator=generator).requires_grad_() for _ in DEPTHS]


LESSON = BatchTargets(torch.tensor([0, 1, 2, 3, 0, 1]), position=0.5)


def softened(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits / temperature, 1)


def test_make_loss_exit_weights_scale_the_exits() -> None:
    logits = some_logits()
    loss = make_loss("joint", LossOptions(exit_weights=(3.0, 0.0, 0.5)), DEPTHS)(logits, (), LESSON)
    expected = 3 * functional.cross_entropy(logits[0], LESSON.labels) + 0.5 * functional.cross_entropy(
        logits[2], LESSON.labels
    )
    assert torch.allclose(loss, expected)


def test_exit_weights_ramp_rises_to_the_share_of_the_cost() -> None:
    options = LossOptions(ramp=True)
    assert exit_weights(options, DEPTHS, 0.0).tolist() == pytest.approx([0.01, 0.01, 1.0])
    assert exit_weights(options, DEPTHS, 1.0).tolist() == pytest.approx(SHARES)
    assert exit_weights(LossOptions(ramp=True, exit_weights=(1, 2, 3)), DEPTHS, 0.5).tolist() == pytest.approx(
        [0.505, 1.005, 3.0]
    )


def test_make_loss_distill_gives_no_gradient_to_the_deepest_exit() -> None:
    logits = some_logits()
    options = LossOptions(distill_share=1.0, distill_temperature=2.0)
    make_loss("distill", options, DEPTHS)(logits, (), LESSON).backward()
    for early in logits[:-1]:
        # The gradient of T² KL(teacher || student) is T (student − teacher).
        expected = 2.0 * (softened(early, 2.0) - softened(logits[-1], 2.0)) / len(LESSON.labels)
        assert early.grad is not None
        assert torch.allclose(early.grad, expected.detach(), atol=1e-6)
    plain = logits[-1].detach().requires_grad_()
    functional.cross_entropy(plain, LESSON.labels).backward()
    assert logits[-1].grad is not None
    assert torch.allclose(logits[-1].grad, plain.grad), "the deepest exit learns from labels alone"


def test_make_loss_distill_with_teacher_trains_all_exits() -> None:
    logits, (answers, *_) = some_logits(), some_logits(1)
    options = LossOptions(distill_share=1.0, distill_temperature=2.0)
    lesson = BatchTargets(LESSON.labels, 0.5, answers.detach())
    make_loss("distill", options, DEPTHS)(logits, (), lesson).backward()
    taught = softened(answers, 2.0)
    goals = [(taught + softened(logits[-1], 2.0)) / 2] * 2 + [taught]
    for exit_logits, goal in zip(logits, goals, strict=True):
        expected = 2.0 * (softened(exit_logits, 2.0) - goal) / len(LESSON.labels)
        assert exit_logits.grad is not None
        assert torch.allclose(exit_logits.grad, expected.detach(), atol=1e-6)


def test_survival_weights_are_largest_where_examples_arrive() -> None:
    sure, unsure = torch.tensor([9.0, 0, 0]), torch.zeros(3)
    weights = survival_weights([torch.stack([sure, unsure])] * 3)
    assert weights[0].tolist() == [1.0, 1.0], "every example reaches the first exit"
    assert weights[1, 1] > 1.9
    assert weights[2, 1] > weights[1, 1]
    assert torch.allclose(weights.mean(1), torch.ones(3))


def test_make_loss_survivors_weigh_from_their_position_on() -> None:
    logits = some_logits()
    plain = make_loss("joint", LossOptions(), DEPTHS)(logits, (), LESSON)
    weighted = make_loss("joint", LossOptions(survivors=0.5), DEPTHS)
    assert torch.equal(weighted(logits, (), BatchTargets(LESSON.labels, 0.49)), plain)
    assert not torch.allclose(weighted(logits, (), LESSON), plain)


def test_survival_weights_no_survivor_are_finite() -> None:
    certain = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert not survival_weights([certain] * 3).isnan().any()


def test_confidence_loss_equals_the_recursion_of_the_paper_plus_class_losses() -> None:
    logits = [x.detach() for x in some_logits()]
    sure = [torch.tensor([0.3, -1.0, 2.0, 0.0, 0.5, -0.5]), torch.tensor([1.0, 0.0, -2.0, 0.7, -0.1, 3.0])]
    costs, price = [0.3, 0.6, 1.1], 0.7
    loss = confidence_loss(logits, sure, LESSON, costs, LossOptions(cost_weight=price))
    total = 0.0
    for start in (0, 1):  # the mean over where an input may begin to look for an exit
        for n, label in enumerate(LESSON.labels):
            mixed, paid, stays = 0.0, 0.0, 1.0
            for i in range(start, 3):
                leaves = float(torch.sigmoid(sure[i][n])) if i < 2 else 1.0
                mixed += stays * leaves * float(softened(logits[i], 1.0)[n, label])
                paid += stays * leaves * costs[i]
                stays *= 1 - leaves
            total += (-math.log(mixed) + price * paid) / len(LESSON.labels) / 2
    alone = [torch.nn.functional.cross_entropy(x, LESSON.labels) for x in logits[:2]]
    assert float(loss) == pytest.approx(total + 0.3 * float(sum(alone)) / 2, rel=1e-5)


def test_confidence_loss_exit_without_confidence_still_gets_class_gradients() -> None:
    labels = torch.arange(6) % 3
    early, sure = torch.zeros(6, 3, requires_grad=True), torch.full((6,), -20.0)
    final = 50 * torch.nn.functional.one_hot(labels, 3).float()
    confidence_loss([early, final], [sure], BatchTargets(labels), [0.2, 1.0], LossOptions()).backward()
    assert early.grad is not None
    assert bool((early.grad[torch.arange(6), labels] < -1e-3).all())


def test_confidence_loss_cost_raises_and_errors_lower_confidences() -> None:
    right = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    wrong = right.flip(1)
    labels = BatchTargets(torch.tensor([0, 1]))
    for early, price, up in ((right, 1.0, True), (wrong, 0.0, False), (wrong, 100.0, True)):
        sure = torch.zeros(2, requires_grad=True)
        confidence_loss([early, right], [sure], labels, [0.2, 1.0], LossOptions(cost_weight=price)).backward()
        assert sure.grad is not None
        assert bool((sure.grad < 0).all()) == up
        assert bool((sure.grad > 0).all()) != up


def test_make_loss_backbone_targets_are_its_predictions() -> None:
    logits = some_logits()
    options = LossOptions(targets="backbone", distill_share=0.0)
    loss = make_loss("frozen", options, DEPTHS)(logits, (), LESSON)
    answers = logits[-1].argmax(1)
    assert not torch.equal(answers, LESSON.labels)
    assert torch.allclose(
        loss, functional.cross_entropy(logits[0], answers) + functional.cross_entropy(logits[1], answers)
    )


@pytest.mark.parametrize("recipe", ["joint", "distill", "frozen"])
def test_make_loss_mixed_examples_are_the_mean_of_both_labels(recipe: str) -> None:
    logits = [x.detach() for x in some_logits()]
    partners, shares = LESSON.labels.roll(1), torch.tensor([1.0, 0.9, 0.5, 0.6, 0.7, 0.8])
    loss = make_loss(recipe, LossOptions(label_smoothing=0.1), DEPTHS)
    each = [
        [float(loss([x[i : i + 1] for x in logits], (), BatchTargets(y[i : i + 1], 0.5))) for y in (a, b)]
        for i, (a, b) in enumerate([(LESSON.labels, partners)] * 6)
    ]
    expected = sum(float(s) * own + (1 - float(s)) * other for s, (own, other) in zip(shares, each, strict=True)) / 6
    mixed = replace(LESSON, partners=partners, shares=shares)
    assert float(loss(logits, (), mixed)) == pytest.approx(expected, rel=1e-5)


def test_confidence_loss_mixed_with_the_same_label_is_unmixed() -> None:
    logits, sure, costs = [x.detach() for x in some_logits()], [torch.randn(6), torch.randn(6)], [0.2, 0.5, 1.0]
    mixed = replace(LESSON, partners=LESSON.labels, shares=torch.rand(6))
    plain, same = (confidence_loss(logits, sure, batch, costs, LossOptions()) for batch in (LESSON, mixed))
    assert float(same) == pytest.approx(float(plain), rel=1e-5)
    other = confidence_loss(logits, sure, replace(mixed, partners=LESSON.labels.roll(1)), costs, LossOptions())
    assert abs(float(other) - float(plain)) > 0.01
