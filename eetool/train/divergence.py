"""Cause of a loss or of weights that are no longer finite: data, weights, a module, a precision, or the learning rate.

The learning rate is named only where the first steps went well.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, DivergedError, EarlyExitError, UsageError
from eetool.model.non_finite import NonFiniteModule, count_non_finite, find_non_finite_module
from eetool.model.weight_values import find_invalid

_WILD = 100.0  # times the loss of guessing, from which a first loss shows inputs or weights of another scale
_GROWN = 10.0  # times the first loss, from which the last one shows that the steps were too large
_LARGE = 1e3  # magnitude of inputs that networks are not made for
_FP32, _FP16 = "fp32", "fp16"
_NETWORK_HINT = "Look for divisions, logarithms and roots of 0, and for sums that overflow, in its forward."
_GRADIENT_HINT = (
    "Look for roots and norms of 0 in its forward: their derivative is infinite, and a small eps avoids it."
)
_RATE_HINT = "Start anew with a lower --learning-rate."


class LossRecord:
    """Losses of the finished steps of a run: their number, the first and the last one."""

    def __init__(self) -> None:
        self.steps, self.first, self.last = 0, math.nan, math.nan

    def add(self, loss: float) -> None:
        """Count a step with a finite loss."""
        self.first = self.first if self.steps else loss
        self.steps, self.last = self.steps + 1, loss


@dataclass(frozen=True)
class FailedStep:
    """A step whose result is not finite.

    Attributes:
        what: what is not finite, and where, for messages.
        inputs: the batch, as the network reads it.
        classes: number of classes.
        run: computes the network's outputs for the batch, as the step did.
        run_in_fp32: the same in full precision.
        teacher: logits of a teacher.
        precision: `fp32`, `bf16` or `fp16`.
    """

    what: str
    inputs: Tensor
    classes: int
    run: Callable[[], object]
    run_in_fp32: Callable[[], object]
    teacher: Tensor | None = None
    precision: str = _FP32

    @property
    def guessing(self) -> float:
        """Loss of one exit that guesses."""
        return math.log(max(self.classes, 2))


def divergence_error(net: nn.Module, step: FailedStep, losses: LossRecord) -> EarlyExitError:
    """Return the error that names the cause of a step that is not finite.

    Args:
        net: the network after that step; gradients are those of the last update.
        step: the step.
        losses: the steps before.

    Returns:
        ArtefactError for data and files, UsageError for the network or a precision, else DivergedError.
    """
    for name, tensor, hint in (
        ("the inputs of the network hold", step.inputs, "Look at the data, and at its mean and deviation."),
        ("the teacher gives", step.teacher, "Train the teacher again, or give another one."),
    ):
        counts = "" if tensor is None else count_non_finite(tensor)
        if counts:
            return ArtefactError(f"{step.what}: {name} {counts}", hint)
    invalid = find_invalid(net.state_dict())
    if invalid is not None and not losses.steps:
        return UsageError(f"{step.what}, before any step: {invalid}", "Look at how the network initialises them.")
    scaled = step.precision == _FP16  # its gradients overflow now and then, and such steps are skipped
    gradient = _bad_gradient(dict(net.named_parameters())) if losses.steps and not scaled else None
    if gradient is not None and losses.last <= _GROWN * max(losses.first, step.guessing):
        message = f"{step.what}: the gradient of {gradient} was not finite, at an ordinary loss of {losses.last:.3g}"
        return UsageError(message, _GRADIENT_HINT)
    fault = find_non_finite_module(net, step.run) if invalid is None else None
    if fault is not None and step.precision != _FP32 and find_non_finite_module(net, step.run_in_fp32) is None:
        reason = f"{step.what}: {fault} in {step.precision}, and finite numbers in fp32"
        return UsageError(reason, "Give --mixed-precision fp32.")
    return _scale_error(net, step, losses, fault) or _network_error(step, losses, fault) or _rate_error(step, losses)


def _bad_gradient(parameters: Mapping[str, nn.Parameter]) -> str | None:
    """Return the last parameter whose gradient is not finite: backward computes it first."""
    bad = [name for name, p in parameters.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
    return bad[-1] if bad else None


def _scale_error(
    net: nn.Module, step: FailedStep, losses: LossRecord, fault: NonFiniteModule | None
) -> EarlyExitError | None:
    """Return the error for inputs that are too large for the network; None where they are not."""
    large = step.inputs.is_floating_point() and float(step.inputs.abs().max()) >= _LARGE
    wild = losses.steps > 0 and losses.first > _WILD * step.guessing
    # The variance of inputs overflows long before they do; the loss stays ordinary, as they are normalised.
    statistics = find_invalid(dict(net.named_buffers())) if find_invalid(dict(net.named_parameters())) is None else None
    if not large or (losses.steps and not wild and statistics is None):
        return None
    low, high = float(step.inputs.min()), float(step.inputs.max())
    cause = fault or statistics
    found = f"; {cause}" if cause else f"; the first loss was {losses.first:.3g}" if losses.steps else ""
    return ArtefactError(
        f"{step.what}: inputs from {low:.3g} to {high:.3g} are too large for a network{found}",
        "Scale the features to a mean of 0 and a deviation of 1.",
    )


def _network_error(step: FailedStep, losses: LossRecord, fault: NonFiniteModule | None) -> EarlyExitError | None:
    """Return the error for a network that is not finite, or far too large, from the start; None where it is."""
    wild = losses.steps > 0 and losses.first > _WILD * step.guessing
    if losses.steps and not wild:
        return None
    if losses.steps:
        message = f"{step.what}: the first loss was {losses.first:.3g}, and that of guessing is {step.guessing:.3g}"
        return UsageError(message, "Look at the weights that the network begins with: its outputs are too large.")
    found = str(fault) if fault else "its outputs are finite, and so large that their loss is not"
    constant = _constant_columns(step.inputs)
    return UsageError(f"{step.what}, before any step: {found}{constant}", _NETWORK_HINT)


def _constant_columns(inputs: Tensor) -> str:
    """Return a remark on features (N, D) that are equal in all examples: their deviation is 0."""
    if inputs.ndim != 2 or len(inputs) < 2 or not inputs.is_floating_point():
        return ""
    constant = torch.nonzero(inputs.amax(0) == inputs.amin(0)).flatten().tolist()
    return f"; feature {constant[0]} is {float(inputs[0, constant[0]]):g} in the whole batch" if constant else ""


def _rate_error(step: FailedStep, losses: LossRecord) -> EarlyExitError:
    seen = f"the first loss was {losses.first:.3g}, the last {losses.last:.3g}"
    return DivergedError(f"{step.what}: {seen}, and then the steps were too large", _RATE_HINT)
