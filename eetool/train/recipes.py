"""What is learned from what: each recipe turns the exits' logits into one loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eetool.model.checkpoint import LossOptions

_RAMP_FROM = 0.01


@dataclass(frozen=True)
class Lesson:
    """What a batch teaches: `labels` int64 (N,), where in the run we are, and a teacher's logits (N, classes)."""

    labels: Tensor
    position: float = 0.0
    teacher: Tensor | None = None


Loss = Callable[[Sequence[Tensor], Lesson], Tensor]


def joint_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of all exits, each with weight 1 (BranchyNet, arXiv 1709.01686).

    Args:
        logits: one (N, classes) per exit.
        labels: int64 (N,).
    """
    return make_loss("joint", LossOptions(), (1.0,) * len(logits))(logits, Lesson(labels))


def make_loss(recipe: str, options: LossOptions, depths: Sequence[float]) -> Loss:
    """The loss of `recipe`, a weighted sum over exits.

    `joint`: the cross-entropy of every exit (BranchyNet, arXiv 1709.01686; with `ramp` the weights of early exits rise
    during the run from almost nothing to each exit's share of the cost, Shallow-Deep Networks, arXiv 1810.07052).

    `distill`: every early exit also learns the softened answers of the deepest one (arXiv 1905.08094), mixed with
    those of a teacher where there is one; the final exit learns from the teacher alone. Teachers get no gradient.

    Args:
        depths: of every exit, the share of the backbone's MACs in front of it, the final one's being 1.
    """
    terms = {"joint": _cross_entropies, "distill": _distilled}[recipe]

    def loss(logits: Sequence[Tensor], lesson: Lesson) -> Tensor:
        parts = terms(logits, lesson, options)  # (exits, N)
        if options.survivors is not None and lesson.position >= options.survivors:
            parts = parts * survival(logits)
        weights = exit_weights(options, depths, lesson.position).to(parts)
        return (parts.mean(1) * weights).sum()

    return loss


def exit_weights(options: LossOptions, depths: Sequence[float], position: float) -> Tensor:
    """Weight (exits,) of every exit's loss at `position` in [0, 1] of the run."""
    if options.exit_weights:
        goal = torch.tensor(options.exit_weights)
    else:
        goal = torch.tensor(list(depths)) if options.ramp else torch.ones(len(depths))
    if not options.ramp:
        return goal
    early = _RAMP_FROM + position * (goal[:-1] - _RAMP_FROM)
    return torch.cat([early, goal[-1:]])


def survival(logits: Sequence[Tensor]) -> Tensor:
    """Weight (exits, N) of every example at every exit: how likely it gets there, scaled to a mean of 1.

    An exit is trained for the examples that reach it (CalexNet, arXiv 2509.08318). An example passes an exit with the
    probability that the exit gives to being wrong, one minus its largest softmax; there is no gradient through that.
    """
    with torch.no_grad():
        passes = torch.stack([1 - torch.softmax(x, 1).amax(1) for x in logits[:-1]])  # (early exits, N)
        reaches = torch.cat([torch.ones_like(passes[:1]), passes.cumprod(0)])  # (exits, N)
        return reaches / reaches.mean(1, keepdim=True).clamp_min(torch.finfo(reaches.dtype).tiny)


def _cross_entropies(logits: Sequence[Tensor], lesson: Lesson, options: LossOptions) -> Tensor:
    smoothing = options.label_smoothing
    parts = [functional.cross_entropy(x, lesson.labels, reduction="none", label_smoothing=smoothing) for x in logits]
    return torch.stack(parts)


def _distilled(logits: Sequence[Tensor], lesson: Lesson, options: LossOptions) -> Tensor:
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


RECIPES = ("joint", "distill")
