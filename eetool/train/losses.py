"""Losses of the training recipes, from the logits of all exits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from eetool.errors import UsageError
from eetool.model.spec import LossOptions
from eetool.wording import counted

RECIPES = ("joint", "frozen", "confidence", "distill")
FROZEN = ("frozen", "confidence")  # only the early exits are trained
_FRESH_RATE, _WARM_RATE = 0.1, 0.01


def default_learning_rate(recipe: str, has_weights: bool) -> float:
    """Return the peak learning rate of a recipe; a small one where a trained backbone is trained on."""
    return _WARM_RATE if has_weights and recipe not in FROZEN else _FRESH_RATE


_RAMP_FROM = 0.01
_LEAST = 1e-12
_CLASSES_ALONE = 0.3  # weight of the cross-entropy of class heads alone


@dataclass(frozen=True)
class BatchTargets:
    """Targets of a batch.

    Attributes:
        labels: int64 (N,).
        position: place of the batch in the run, in [0, 1].
        teacher: a teacher's logits (N, classes).
        partners: labels int64 (N,) of the examples that are mixed in; None without mixup.
        shares: (N,), share of `labels` in the targets; 1 − share is that of `partners`.
    """

    labels: Tensor
    position: float = 0.0
    teacher: Tensor | None = None
    partners: Tensor | None = None
    shares: Tensor | None = None

    def to(self, device: torch.device) -> "BatchTargets":
        """Return the targets on another torch device."""
        tensors = (self.teacher, self.partners, self.shares)
        moved = (None if tensor is None else tensor.to(device) for tensor in tensors)
        return BatchTargets(self.labels.to(device), self.position, *moved)

    def average(self, score: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean of `score` (N,), a function of labels, over the two labels of every example by share."""
        if self.partners is None or self.shares is None:
            return score(self.labels)
        return self.shares * score(self.labels) + (1 - self.shares) * score(self.partners)


@dataclass(frozen=True)
class ExitDepth:
    """MACs of an exit, as shares of the whole backbone.

    Attributes:
        trunk: of the backbone in front of the exit.
        spent: of everything that ran when the input leaves there, rejected exits included.
    """

    trunk: float
    spent: float


# Maps logits (N, classes) of every exit, outputs (N,) of the confidence heads and the targets to a loss.
Loss = Callable[[Sequence[Tensor], Sequence[Tensor], BatchTargets], Tensor]


def joint_loss(
    logits: Sequence[Tensor],
    labels: Tensor,
    *,
    weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the weighted sum of the cross-entropies of all exits (BranchyNet, arXiv 1709.01686).

    >>> loss = eetool.joint_loss(net(inputs), labels)

    Args:
        logits: one (N, classes) per exit, the final exit last.
        labels: int64 (N,).
        weights: weight of each exit's loss, by default 1 each.
        label_smoothing: share of the target that is spread over all classes.

    Returns:
        The loss, a scalar with a gradient.

    Raises:
        eetool.errors.UsageError: there are other numbers of logits, labels or weights.
    """
    options = LossOptions(label_smoothing=label_smoothing, exit_weights=_checked(logits, labels, weights))
    return make_loss("joint", options, _even_depths(logits))(logits, (), BatchTargets(labels))


def distillation_loss(
    logits: Sequence[Tensor],
    labels: Tensor,
    *,
    teacher: Tensor | None = None,
    share: float = 0.5,
    temperature: float = 3.0,
    weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the joint loss in which early exits also learn the softened outputs of the deepest (arXiv 1905.08094).

    >>> loss = eetool.distillation_loss(net(inputs), labels, teacher=larger(inputs))

    No gradient flows to the exit that teaches, nor to `teacher`. On a frozen backbone it trains the exits alone.

    Args:
        logits: one (N, classes) per exit, the final exit last.
        labels: int64 (N,).
        teacher: logits (N, classes) of another network, averaged with those of the deepest exit. That one learns from
            these alone.
        share: share of an exit's loss that comes from teachers.
        temperature: temperature that softens the probabilities of teachers and exits.
        weights: weight of each exit's loss, by default 1 each.
        label_smoothing: share of the target that is spread over all classes.

    Returns:
        The loss, a scalar with a gradient.

    Raises:
        eetool.errors.UsageError: shapes differ, or a number is out of range.
    """
    given = _checked(logits, labels, weights)
    if not 0 <= share <= 1 or not 0 < temperature < float("inf"):
        raise UsageError(
            f"share is {share!r} and temperature {temperature!r}",
            "Give a share from 0 to 1, and a temperature above 0.",
        )
    if teacher is not None and teacher.shape != logits[0].shape:
        raise UsageError(f"teacher is {_form(teacher)}, and an exit gives {_form(logits[0])}", "Give its logits.")
    options = LossOptions(label_smoothing, given, distill_share=share, distill_temperature=temperature)
    targets = BatchTargets(labels, teacher=None if teacher is None else teacher.detach())
    return make_loss("distill", options, _even_depths(logits))(logits, (), targets)


def _even_depths(logits: Sequence[Tensor]) -> list[ExitDepth]:
    return [ExitDepth(1.0, 1.0)] * len(logits)


def _checked(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float] | None) -> tuple[float, ...]:
    """Return the weights of the exits, empty for 1 each.

    Raises:
        UsageError: there are other numbers of logits, labels or weights.
    """
    given_alone = isinstance(cast(object, logits), Tensor)
    if given_alone or not logits or any(x.ndim != 2 or x.shape != logits[0].shape for x in logits):
        forms = "one tensor" if given_alone else ", ".join(map(_form, logits)) or "empty"
        raise UsageError(f"logits are {forms}, not one (N, classes) for each exit", "Give what the network returns.")
    if labels.shape != logits[0].shape[:1] or labels.is_floating_point():
        raise UsageError(f"labels are {_form(labels)} for logits {_form(logits[0])}", "Give class numbers, int64 (N,).")
    given = tuple(float(weight) for weight in weights) if weights is not None else ()
    if weights is not None and len(given) != len(logits):
        raise UsageError(f"{len(given)} weights for {counted(len(logits), 'exit')}", "The final exit has one.")
    return given


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def make_loss(recipe: str, options: LossOptions, depths: Sequence[ExitDepth]) -> Loss:
    """Return the loss of `recipe`, a weighted sum over exits.

    `joint`: the cross-entropy of every exit (BranchyNet, arXiv 1709.01686). With `ramp` the weights of early exits rise
    during the run from almost 0 to each exit's share of the cost (Shallow-Deep Networks, arXiv 1810.07052).

    `distill`: early exits also have the softened outputs of the deepest exit as targets (arXiv 1905.08094), averaged
    with those of a teacher if there is one. The final exit has the teacher alone. Teachers get no gradient.

    `frozen`: the same for exits on a frozen backbone (Shallow-Deep Networks' "IC-only" training).

    `confidence`: see `confidence_loss`.
    """
    if recipe == "confidence":
        costs = [depth.spent for depth in depths]
        return lambda logits, learned, batch: confidence_loss(logits, learned, batch, costs, options)
    terms = _cross_entropies if recipe == "joint" else _distilled

    def loss(logits: Sequence[Tensor], learned: Sequence[Tensor], batch: BatchTargets) -> Tensor:
        parts = terms(logits, batch, options)  # (exits, N)
        if options.survivors is not None and batch.position >= options.survivors:
            parts = parts * survival_weights(logits)
        weights = exit_weights(options, depths, batch.position).to(parts)
        if recipe in FROZEN:
            parts, weights = parts[:-1], weights[:-1]  # nothing in front of the final exit is trained
        return (parts.mean(1) * weights).sum()

    return loss


def confidence_loss(
    logits: Sequence[Tensor],
    learned: Sequence[Tensor],
    batch: BatchTargets,
    costs: Sequence[float],
    options: LossOptions,
) -> Tensor:
    """Return the joint loss of classes and learned confidences (PTEENet, arXiv 2501.02508, its second form).

    From the final exit backwards, with h the confidence of exit i, y its probabilities and c its cost:
    ŷ_i = h y_i + (1 − h) ŷ_{i+1} and ĉ_i = h c_i + (1 − h) ĉ_{i+1}. The loss is the mean over all early exits of
    −log ŷ_i[target] + λ ĉ_i. Unlike in the paper, c_i includes everything that ran, rejected exits as well, and every
    class head has a cross-entropy of its own. Without it the confidence of an untrained exit soon falls to 0; the exit
    then gets no gradient and stays at chance, because the final exit, whose outputs are the targets, is always right.
    """
    targets = _targets(logits, batch, options)
    likelihood = _likelihood(logits[-1].detach(), targets)
    cost = torch.full_like(likelihood, costs[-1])
    losses = []
    for i in reversed(range(len(learned))):
        h = torch.sigmoid(learned[i])
        likelihood = h * _likelihood(logits[i], targets) + (1 - h) * likelihood
        cost = h * costs[i] + (1 - h) * cost
        losses.append((options.cost_weight * cost - likelihood.clamp_min(_LEAST).log()).mean())
    alone = [cross_entropy(x, targets).mean() for x in logits[: len(learned)]]
    return torch.stack(losses).mean() + _CLASSES_ALONE * torch.stack(alone).mean()


def cross_entropy(logits: Tensor, targets: BatchTargets, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy (N,) of logits (N, classes), in a mix with both labels by their share."""
    return targets.average(
        lambda labels: functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    )


def _likelihood(logits: Tensor, targets: BatchTargets) -> Tensor:
    """Return the probability (N,) of the label; in a mix the mean of both labels' by their share."""
    probabilities = torch.softmax(logits, 1)
    return targets.average(lambda labels: probabilities.gather(1, labels[:, None])[:, 0])


def _targets(logits: Sequence[Tensor], batch: BatchTargets, options: LossOptions) -> BatchTargets:
    """Return the labels, or the predictions of a frozen backbone, which are of the mix itself."""
    return BatchTargets(logits[-1].argmax(1)) if options.targets == "backbone" else batch


def exit_weights(options: LossOptions, depths: Sequence[ExitDepth], position: float) -> Tensor:
    """Return the weight (exits,) of every exit's loss at `position` in [0, 1] of the run."""
    if options.exit_weights:
        target = torch.tensor(options.exit_weights)
    else:
        target = torch.tensor([depth.trunk for depth in depths]) if options.ramp else torch.ones(len(depths))
    if not options.ramp:
        return target
    early = _RAMP_FROM + position * (target[:-1] - _RAMP_FROM)
    return torch.cat([early, target[-1:]])


def survival_weights(logits: Sequence[Tensor]) -> Tensor:
    """Return the weight (exits, N) of every example at every exit: its probability to get there, scaled to a mean of 1.

    An exit is trained for the examples that reach it (CalexNet, arXiv 2509.08318). The probability to pass an exit is
    1 minus its largest softmax. No gradient flows through it.
    """
    with torch.no_grad():
        passes = torch.stack([1 - torch.softmax(x, 1).amax(1) for x in logits[:-1]])  # (early exits, N)
        reaches = torch.cat([torch.ones_like(passes[:1]), passes.cumprod(0)])  # (exits, N)
        return reaches / reaches.mean(1, keepdim=True).clamp_min(torch.finfo(reaches.dtype).tiny)


def _cross_entropies(logits: Sequence[Tensor], batch: BatchTargets, options: LossOptions) -> Tensor:
    targets = _targets(logits, batch, options)
    return torch.stack([cross_entropy(x, targets, options.label_smoothing) for x in logits])


def _distilled(logits: Sequence[Tensor], batch: BatchTargets, options: LossOptions) -> Tensor:
    parts = list(_cross_entropies(logits, batch, options))
    share, temperature = options.distill_share, options.distill_temperature
    external = [] if batch.teacher is None else [torch.softmax(batch.teacher / temperature, 1)]
    deepest = torch.softmax(logits[-1].detach() / temperature, 1)
    for index, exit_logits in enumerate(logits):
        teachers = external if index == len(logits) - 1 else [*external, deepest]
        if teachers:
            target = torch.stack(teachers).mean(0)  # (teachers, N, classes) -> (N, classes)
            divergence = functional.kl_div(
                functional.log_softmax(exit_logits / temperature, 1), target, reduction="none"
            )
            soft = temperature**2 * divergence.sum(1)
            parts[index] = (1 - share) * parts[index] + share * soft
    return torch.stack(parts)
