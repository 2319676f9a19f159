"""Loss of NACHOS."""

import torch

from eetool.search.methods.baselines.nachos_loss import CostGoal, learned_loss


def test_learned_loss_exceeded_cost_limit_has_gradient() -> None:
    logits = [torch.randn(16, 4) for _ in range(3)]
    confidence_logits = [torch.zeros(16, requires_grad=True) for _ in range(2)]
    labels = torch.randint(0, 4, (16,))
    for limit, pulled in ((1.0, True), (100.0, False)):
        goal = CostGoal((1.0, 5.0, 9.0), limit)
        with_cost = learned_loss(logits, confidence_logits, labels, goal)
        without = learned_loss(logits, confidence_logits, labels, CostGoal((1.0, 5.0, 9.0), None))
        (gradient,) = torch.autograd.grad(with_cost - without, confidence_logits[:1])
        assert bool((gradient < 0).all()) == pulled  # more confidence at the first exit is cheaper
