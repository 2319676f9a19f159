"""Trial run of a network before anything long: what its training and its inference would raise, hours earlier."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import ArtefactError, UsageError
from eetool.model.code_place import module_names, module_text
from eetool.model.early_exit import EarlyExitNet, ExitOutputs
from eetool.model.network_check.in_place_writes import InPlaceWrites
from eetool.model.user_code import describe, error_place, is_ours, remedy, user_code

ROWS = 3  # examples that a trial takes; 1, 2 and 3 are the batch sizes
_SHOWN = 3
_NOT_FROZEN = "Leave some of its weights trainable, or give trained weights and train the exits alone: recipe frozen."
_NO_GRADIENT = "In train mode forward must leave gradients on: no torch.no_grad, inference_mode, detach() or .data."
_ITS_OWN_COPY = "Let forward work on a copy: x = x - 0.5 and not x -= 0.5."
_ONE_STRUCTURE = "All modules and buffers are made in __init__, with the same shapes at every batch size."
_INFERENCE = "Use torch.no_grad in forward, or nothing: eetool switches gradients off where it only runs a network."
_ANY_BATCH = "Devices classify one input at a time: forward must take any batch size, as x.shape[0] tells it."


@dataclass(frozen=True)
class TrialTraining:
    """Settings of the training that a trial run repeats.

    Attributes:
        batch_size: examples per step.
        frozen: the backbone is not trained; it runs in eval mode.
        bf16: multiplications in bfloat16.
    """

    batch_size: int = ROWS
    frozen: bool = False
    bf16: bool = False

    def batch(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return a copy of the first examples of `inputs`, at most one step's."""
        return [x[: min(self.batch_size, ROWS)].clone() for x in inputs]


def try_inference(backbone: nn.Module, inputs: Sequence[Tensor], classes: int, name: str) -> None:
    """Run a backbone in eval mode on batches of 1 and of 3.

    Args:
        backbone: the network, which is left as it was.
        inputs: at least 3 examples (n, …) for each of its inputs.
        classes: number of classes.
        name: its name in messages.

    Raises:
        ArtefactError: its code fails, changes its inputs or its own structure.
        UsageError: it gives no logits (n, classes) of real floats.
    """
    with _left_as_it_was(backbone), torch.no_grad():
        backbone.eval()
        before = _structure(backbone)
        for rows in (1, ROWS):
            batch = [x[:rows].clone() for x in inputs]
            writes = InPlaceWrites(backbone)
            what = f"{name}, on a batch of {rows},"
            with user_code(what, backbone), writes:
                logits = backbone(*batch)
            place = writes.place_of_write_to(batch)
            if place is not None:
                raise ArtefactError(f"{name} changes its input in place{place}", _ITS_OWN_COPY)
            _check_logits(logits, rows, classes, name)
            if logits.is_inference():
                raise ArtefactError(f"{name} runs in torch.inference_mode, where nothing can be recorded", _INFERENCE)
        _check_structure(before, _structure(backbone), name)


def try_training(net: EarlyExitNet, inputs: Sequence[Tensor], training: TrialTraining, name: str) -> list[str]:
    """Run a network and all its exits once forward in train mode and once backward.

    Args:
        net: the network, which is left as it was.
        inputs: at least 3 examples (n, …) for each of its inputs.
        training: how it is going to be trained.
        name: its name in messages.

    Returns:
        Weights of the backbone that do not learn, as notes.

    Raises:
        ArtefactError: the network's code fails, has no gradients, or changes its own structure.
        UsageError: all weights of the backbone are frozen, or batches of 1 cannot be trained.
    """
    weights = {n: p for n, p in net.backbone.named_parameters() if p.numel()}
    learning = {n: p for n, p in weights.items() if p.requires_grad}
    if weights and not learning and not training.frozen:
        raise UsageError(f"all weights of {name} are frozen (requires_grad is False), so none would learn", _NOT_FROZEN)
    with _left_as_it_was(net):
        net.train()
        net.backbone.train(not training.frozen)
        net.backbone.requires_grad_(False) if training.frozen else None
        before = _structure(net)
        outputs = _forward(net, training.batch(inputs), training, name)
        loss = _loss(outputs, training)
        answers = outputs.own[-1:] if net.branches else outputs.own  # attached exits learn in any case
        if learning and not training.frozen and not any(x.requires_grad for x in answers):
            raise ArtefactError(
                f"{name} cannot be trained: its outputs have no gradients{_switched_off(net, inputs, training)}",
                _NO_GRADIENT,
            )
        if loss is not None and loss.requires_grad:
            _backward(net, loss, inputs, training, name)
        _check_structure(before, _structure(net), name)
        idle = [n for n, p in learning.items() if p.grad is None] if not training.frozen else []
    return _notes(idle, len(weights) - len(learning), name, training)


def _forward(net: EarlyExitNet, batch: Sequence[Tensor], training: TrialTraining, name: str) -> ExitOutputs:
    try:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=training.bf16):
            return net.forward_outputs(*batch)
    except Exception as error:
        if is_ours(error) or len(batch[0]) > 1:
            raise
        # An exit of eetool, whose batch normalisation has one value.
        reason = f"{name} with its exits cannot be trained on a batch of 1: {describe(error)}"
        raise UsageError(reason, remedy(error)) from error


def _loss(outputs: ExitOutputs, training: TrialTraining) -> Tensor | None:
    """Return a loss over all exits that are trained and their confidences; None where nothing is."""
    own = outputs.own[:-1] if training.frozen else outputs.own
    parts = [functional.cross_entropy(x.float(), x.new_zeros(len(x), dtype=torch.int64)) for x in own]
    parts += [x.float().mean() for x in outputs.learned if x is not None]
    return torch.stack(parts).sum() if parts else None


def _backward(net: EarlyExitNet, loss: Tensor, inputs: Sequence[Tensor], training: TrialTraining, name: str) -> None:
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        with InPlaceWrites(net) as writes:
            _forward(net, training.batch(inputs), training, name)
        place = error_place(error, net) or writes.place_of_shape_in(str(error))
        hint = remedy(error) or _NO_GRADIENT
        raise ArtefactError(f"{name} cannot be trained: backward fails{place}: {describe(error)}", hint) from error


def _switched_off(net: EarlyExitNet, inputs: Sequence[Tensor], training: TrialTraining) -> str:
    """Return the place of the innermost forward that switches gradients off for the modules inside it."""
    running: list[tuple[nn.Module, bool]] = []  # modules that run, and whether gradients were on when they began
    found: list[nn.Module] = []

    def begin(module: nn.Module, arguments: Any) -> None:
        if running and running[-1][1] and not torch.is_grad_enabled():
            found.append(running[-1][0])
        running.append((module, torch.is_grad_enabled()))

    def end(module: nn.Module, arguments: Any, output: Any) -> None:
        running.pop()

    handles = [m.register_forward_pre_hook(begin) for m in net.backbone.modules()]
    handles += [m.register_forward_hook(end) for m in net.backbone.modules()]
    try:
        _forward(net, training.batch(inputs), training, "the network")
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return ""
    forward = inspect.unwrap(type(found[0]).forward)
    line = f", {Path(forward.__code__.co_filename).name}:{forward.__code__.co_firstlineno}"
    return module_text(module_names(net.backbone)[id(found[0])], found[0]) + line


def _check_logits(logits: Any, rows: int, classes: int, name: str) -> None:
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (rows, classes):
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"{name} gives {given} for a batch of {rows}, not logits of shape ({rows}, {classes})", _ANY_BATCH
        )
    if not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise UsageError(f"{name} gives {kind}, not logits of floats", "Return real numbers before argmax.")


def _structure(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _check_structure(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]], name: str) -> None:
    changed = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        tensor = changed[0].removeprefix("backbone.")
        kind = "adds" if changed[0] not in before else "removes" if changed[0] not in after else "changes the shape of"
        raise ArtefactError(f"the forward of {name} {kind} the tensor {tensor}{more}", _ONE_STRUCTURE)


def _notes(idle: Sequence[str], frozen: int, name: str, training: TrialTraining) -> list[str]:
    notes = []
    if idle:
        more = f" and {len(idle) - _SHOWN} more" if len(idle) > _SHOWN else ""
        notes.append(
            f"warning: {len(idle)} weights of {name} get no gradient and do not learn: {', '.join(idle[:_SHOWN])}{more}"
        )
    if frozen and not training.frozen:
        notes.append(f"{frozen} weights of {name} are frozen (requires_grad is False) and stay as they are")
    return notes


@contextmanager
def _left_as_it_was(net: nn.Module) -> Iterator[None]:
    """Restore values, modes and gradients of a network, and the random numbers of the process."""
    tensors = [(t, t.detach().clone()) for t in (*net.parameters(), *net.buffers()) if not nn.parameter.is_lazy(t)]
    learning = [(p, p.requires_grad) for p in net.parameters()]
    modes = [(module, module.training) for module in net.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for tensor, value in tensors:
                tensor.copy_(value)
        for module, mode in modes:
            module.training = mode
        for parameter, learns in learning:
            parameter.requires_grad_(learns)
            parameter.grad = None
