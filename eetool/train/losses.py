"""What is learned from what: each recipe turns the exits' logits into one loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eetool.model.checkpoint import LossOptions

RECIPES = ("joint", "frozen", "confidence", "distill")
FROZEN = ("frozen", "confidence")  # only the early exits learn
_RAMP_FROM = 0.01
_LEAST = 1e-12
_CLASSES_ALONE = 0.3  # what class heads learn by themselves, beside what confidences make of them


@dataclass(frozen=True)
class BatchTargets:
    """What a batch teaches: `labels` int64 (N,), where in the run we are, and a teacher's logits (N, classes)."""

    labels: Tensor
    position: float = 0.0
    teacher: Tensor | None = None

    def to(self, device: torch.device) -> "BatchTargets":
        """The same on another torch device."""
        teacher = None if self.teacher is None else self.teacher.to(device)
        return BatchTargets(self.labels.to(device), self.position, teacher)


@dataclass(frozen=True)
class ExitDepth:
    """Where an exit is: MACs of the backbone in front of it, and of everything that ran once it answers, rejected
    exits too; both as shares of the whole backbone.
    """

    trunk: float
    spent: float


# Logits (N, classes) of every exit, what the confidence heads of early exits say (N,), and what there is to learn.
Loss = Callable[[Sequence[Tensor], Sequence[Tensor], BatchTargets], Tensor]


def joint_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of all exits, each with weight 1 (BranchyNet, arXiv 1709.01686).

    Args:
        logits: one (N, classes) per exit.
        labels: int64 (N,).
    """
    return make_loss("joint", LossOptions(), [ExitDepth(1.0, 1.0)] * len(logits))(logits, (), BatchTargets(labels))


def make_loss(recipe: str, options: LossOptions, depths: Sequence[ExitDepth]) -> Loss:
    """The loss of `recipe`, a weighted sum over exits.

    `joint`: the cross-entropy of every exit (BranchyNet, arXiv 1709.01686; with `ramp` the weights of early exits rise
    during the run from almost nothing to each exit's share of the cost, Shallow-Deep Networks, arXiv 1810.07052).

    `distill`: every early exit also learns the softened answers of the deepest one (arXiv 1905.08094), mixed with
    those of a teacher where there is one; the final exit learns from the teacher alone. Teachers get no gradient.

    `frozen`: the same for exits on a backbone that learns nothing (Shallow-Deep Networks' "IC-only" training).

    `confidence`: see `confidence_loss`.
    """
    if recipe == "confidence":
        costs = [depth.spent for depth in depths]
        return lambda logits, sure, lesson: confidence_loss(logits, sure, lesson, costs, options)
    terms = _cross_entropies if recipe == "joint" else _distilled

    def loss(logits: Sequence[Tensor], sure: Sequence[Tensor], lesson: BatchTargets) -> Tensor:
        parts = terms(logits, lesson, options)  # (exits, N)
        if options.survivors is not None and lesson.position >= options.survivors:
            parts = parts * survival_weights(logits)
        weights = exit_weights(options, depths, lesson.position).to(parts)
        if recipe in FROZEN:
            parts, weights = parts[:-1], weights[:-1]  # nothing in front of the final exit learns
        return (parts.mean(1) * weights).sum()

    return loss


def confidence_loss(
    logits: Sequence[Tensor], sure: Sequence[Tensor], lesson: BatchTargets, costs: Sequence[float], options: LossOptions
) -> Tensor:
    """Classes and learned confidences of early exits together (PTEENet, arXiv 2501.02508, its second form).

    From the final exit backwards, with h the confidence of exit i, y its probabilities and c its cost:
    ŷ_i = h y_i + (1 − h) ŷ_{i+1} and ĉ_i = h c_i + (1 − h) ĉ_{i+1}; the loss is the mean over all early exits of
    −log ŷ_i[target] + λ ĉ_i. Different from the paper, c_i is all that ran, rejected exits included; and every class
    head learns the targets by itself too. Without that an untrained exit is soon believed no more, learns nothing from
    then on, and stays at chance: the final exit, whose own answers are the targets, is always right.
    """
    targets = _targets(logits, lesson, options)[:, None]  # (N, 1)
    likelihood = torch.softmax(logits[-1].detach(), 1).gather(1, targets)[:, 0]  # of the target, (N,)
    cost = torch.full_like(likelihood, costs[-1])
    losses = []
    for i in reversed(range(len(sure))):
        h = torch.sigmoid(sure[i])
        likelihood = h * torch.softmax(logits[i], 1).gather(1, targets)[:, 0] + (1 - h) * likelihood
        cost = h * costs[i] + (1 - h) * cost
        losses.append((options.cost_weight * cost - likelihood.clamp_min(_LEAST).log()).mean())
    alone = [functional.cross_entropy(x, targets[:, 0]) for x in logits[: len(sure)]]
    return torch.stack(losses).mean() + _CLASSES_ALONE * torch.stack(alone).mean()


def _targets(logits: Sequence[Tensor], lesson: BatchTargets, options: LossOptions) -> Tensor:
    """int64 (N,): labels, or a frozen backbone's own answers."""
    return logits[-1].argmax(1) if options.targets == "backbone" else lesson.labels


def exit_weights(options: LossOptions, depths: Sequence[ExitDepth], position: float) -> Tensor:
    """Weight (exits,) of every exit's loss at `position` in [0, 1] of the run."""
    if options.exit_weights:
        goal = torch.tensor(options.exit_weights)
    else:
        goal = torch.tensor([depth.trunk for depth in depths]) if options.ramp else torch.ones(len(depths))
    if not options.ramp:
        return goal
    early = _RAMP_FROM + position * (goal[:-1] - _RAMP_FROM)
    return torch.cat([early, goal[-1:]])


def survival_weights(logits: Sequence[Tensor]) -> Tensor:
    """Weight (exits, N) of every example at every exit: how likely it gets there, scaled to a mean of 1.

    An exit is trained for the examples that reach it (CalexNet, arXiv 2509.08318). An example passes an exit with the
    probability that the exit gives to being wrong, one minus its largest softmax; there is no gradient through that.
    """
    with torch.no_grad():
        passes = torch.stack([1 - torch.softmax(x, 1).amax(1) for x in logits[:-1]])  # (early exits, N)
        reaches = torch.cat([torch.ones_like(passes[:1]), passes.cumprod(0)])  # (exits, N)
        return reaches / reaches.mean(1, keepdim=True).clamp_min(torch.finfo(reaches.dtype).tiny)


def _cross_entropies(logits: Sequence[Tensor], lesson: BatchTargets, options: LossOptions) -> Tensor:
    smoothing, targets = options.label_smoothing, _targets(logits, lesson, options)
    parts = [functional.cross_entropy(x, targets, reduction="none", label_smoothing=smoothing) for x in logits]
    return torch.stack(parts)


def _distilled(logits: Sequence[Tensor], lesson: BatchTargets, options: LossOptions) -> Tensor:
    parts = list(_cross_entropies(logits, lesson, options))
    share, temperature = options.distill_share, options.distill_temperature
    outside = [] if lesson.teacher is None else [torch.softmax(lesson.teacher / temperature, 1)]
    deepest = torch.softmax(logits[-1].detach() / temperature, 1)
    for index, exit_logits in enumerate(logits):
        teachers = outside if index == len(logits) - 1 else [*outside, deepest]
        if teachers:
            target = torch.stack(teachers).mean(0)  # (teachers, N, classes) -> (N, classes)
            divergence = functional.kl_div(
                functional.log_softmax(exit_logits / temperature, 1), target, reduction="none"
            )
            soft = temperature**2 * divergence.sum(1)
            parts[index] = (1 - share) * parts[index] + share * soft
    return torch.stack(parts)
