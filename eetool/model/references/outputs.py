"""Outputs of a network by name, and the choice of those that are class logits (docs/decisions/0032).

A network may return one tensor, or a tuple, list, dict, dataclass or output of a library with tensors at any depth. The
name of a tensor is its path there: `logits`, `0`, `logits.1`. Which outputs are meant is decided once, from one run in
evaluation mode and one in training mode. The names are recorded with the network and hold in both modes.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.errors import UsageError

LOGITS = "logits"
_MAX_DEPTH = 6
_MAX_LISTED = 12
_SUM_TOLERANCE = 0.01  # of probabilities in half precision
_SIGMOIDS = ("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_")
EVALUATION, TRAINING = "evaluation", "training"


@dataclass(frozen=True)
class NetworkOutput:
    """A tensor among the outputs of a network. Its name is empty where the network returns it alone.

    `from_sigmoid` is True where the network has computed it by a sigmoid.
    """

    name: str
    tensor: Tensor
    from_sigmoid: bool = False

    def is_class_scores(self, batch: int, classes: int | None) -> bool:
        """Return whether it is floats (N, classes); any number of classes from 2 where `classes` is None."""
        shape = tuple(self.tensor.shape)
        fits = len(shape) == 2 and shape[0] == batch and shape[1] == (classes or max(shape[1], 2))
        return fits and self.tensor.is_floating_point()

    @property
    def is_probabilities(self) -> bool:
        """Whether it comes from a sigmoid, or every row (N, classes) has no negative number and the sum 1."""
        rows = self.tensor.detach().float()
        if self.from_sigmoid:
            return True
        return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < _SUM_TOLERANCE).all())


@dataclass(frozen=True)
class OutputChoice:
    """What the user has said about the outputs.

    Attributes:
        named: outputs, or containers of outputs, that hold class logits; empty to find them.
        own: the outputs are the network's own exits.
    """

    named: tuple[str, ...] = ()
    own: bool = False


FIND = OutputChoice()


def list_outputs(value: Any) -> list[NetworkOutput]:
    """Return every tensor of a network's return value with its name, in order."""
    return [NetworkOutput(name, tensor) for name, tensor in _walk(value, "", 0)]


def find_output(value: Any, name: str) -> Tensor | None:
    """Return the output called `name`, or the one tensor that the network returns instead in this mode."""
    if isinstance(value, Tensor):
        return value
    return next((output.tensor for output in list_outputs(value) if output.name == name), None)


def find_outputs(value: Any, names: Sequence[str]) -> list[Tensor]:
    """Return the outputs called `names`.

    Raises:
        UsageError: the network does not return one of them.
    """
    found = {output.name: output.tensor for output in list_outputs(value)}
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"the network returns no output {missing[0]!r}", _SAME_OUTPUTS)
    return [found[name] for name in names]


_SAME_OUTPUTS = "Its forward must return the same outputs in training and in evaluation mode."
_REMEDY = (
    "Return the values before the softmax or sigmoid, in training and in evaluation mode: the loss and the gates take "
    "the softmax themselves. Without them, torch.log(p.clamp_min(1e-30)) turns probabilities of a softmax into logits."
)


def run_outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[NetworkOutput] | None:
    """Run a network in its present mode and return its outputs, or None where it fails."""
    recorder = _SigmoidRecorder()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), recorder:
            value = module(*(x.clone() for x in inputs))
    except Exception:  # the user's code can raise anything
        return None
    pairs = _walk(value, "", 0)
    return [NetworkOutput(name, x, int(x.untyped_storage()._cdata) in recorder.storages) for name, x in pairs]


def count_classes(value: Any, batch: int, choice: OutputChoice, where: str) -> int:
    """Return the number of classes of a network from its return value for `batch` inputs.

    Raises:
        UsageError: no output is (N, classes), or they have different widths.
    """
    listed = list_outputs(value)
    fitting = [x for x in _preferred(listed, choice.named) if x.is_class_scores(batch, None)]
    if not fitting:
        raise UsageError(
            f"{where} does not give logits (N, classes): {_table(listed)}", "Only classifiers can be used."
        )
    widths = sorted({int(x.tensor.shape[1]) for x in fitting})
    if len(widths) > 1:
        raise UsageError(
            f"{where} has outputs of different widths, so its number of classes is not known: {_table(fitting)}",
            "Give --classes.",
        )
    return widths[0]


@dataclass(frozen=True)
class OutputUse:
    """An output of a network for `inspect`: its name, its shape, and whether it can be class logits."""

    name: str
    shape: tuple[int, ...]
    logits: bool


def describe_outputs(module: nn.Module, inputs: tuple[Tensor, ...], classes: int) -> list[OutputUse]:
    """Return the outputs of a network that returns more than one in evaluation mode, or else in training mode."""
    for mode in (module.eval(), module.train()):
        outputs = run_outputs(mode, inputs) or []
        if not _is_alone(outputs):
            break
    module.eval()
    if len(outputs) < 2:
        return []
    preferred = {x.name for x in _preferred(outputs)}
    return [
        OutputUse(
            x.name,
            tuple(x.tensor.shape),
            x.name in preferred and x.is_class_scores(len(inputs[0]), classes) and not x.is_probabilities,
        )
        for x in outputs
    ]


def choose_outputs(
    module: nn.Module, inputs: tuple[Tensor, ...], classes: int, choice: OutputChoice, where: str
) -> tuple[str, ...]:
    """Run a network in both modes and return the names of the outputs that are its logits, the final exit's last.

    Args:
        module: the network, as the user or the library built it.
        inputs: at least two inputs that differ.
        classes: number of classes.
        choice: what the user has said.
        where: the reference, for messages.

    Returns:
        One name, or with own exits one per exit in the order of the outputs; nothing where the network returns one
        tensor in both modes.

    Raises:
        UsageError: no output, or more than one, can be meant; or it holds probabilities; or the modes differ.
    """
    batch = len(inputs[0])
    evaluated = run_outputs(module.eval(), inputs)
    if evaluated is None:  # whoever runs the network next reports the error
        return ()
    trained = run_outputs(module.train(), inputs)
    module.eval()
    modes = {EVALUATION: evaluated, **({} if trained is None else {TRAINING: trained})}
    structured = {mode: outputs for mode, outputs in modes.items() if not _is_alone(outputs)}
    if not structured:
        _refuse_choice(choice, where)
        names: tuple[str, ...] = ()
    else:
        if choice.own:
            _check_structured(modes, where)
        mode, outputs = next(iter(structured.items()))
        where_chosen = where if mode == EVALUATION else f"{where} in {mode} mode"
        names = _choose(outputs, batch, classes, choice, where_chosen)
    for mode, outputs in modes.items():
        _check_mode(mode, outputs, names, batch, classes, where)
    return names


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif depth < _MAX_DEPTH:
        for key, item in _items(value):
            yield from _walk(item, f"{name}.{key}" if name else str(key), depth + 1)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):  # also the outputs of transformers
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if hasattr(value, LOGITS) and not isinstance(value, nn.Module):
        return list({LOGITS: value.logits, **getattr(value, "__dict__", {})}.items())
    return []


class _SigmoidRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of the storages that sigmoids have written."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: dict[int, Any] = {}  # kept alive, so that no address is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func._overloadpacket.__name__ in _SIGMOIDS:
            storage = output.untyped_storage()
            self.storages[int(storage._cdata)] = storage
        return output


def _is_alone(outputs: Sequence[NetworkOutput]) -> bool:
    return not outputs or not outputs[0].name


def _refuse_choice(choice: OutputChoice, where: str) -> None:
    if choice.own:
        raise UsageError(f"{where} returns one output, so it has no exits of its own", "Give --exits N to attach some.")
    if choice.named:
        raise UsageError(f"{where} returns one output, so there is nothing to choose", "Leave --logits out.")


def _choose(
    listed: Sequence[NetworkOutput], batch: int, classes: int, choice: OutputChoice, where: str
) -> tuple[str, ...]:
    """Return the names of the outputs that are meant, among those that the network returns in one mode."""
    if len(choice.named) > 1 and not choice.own:
        raise UsageError(f"--logits names {len(choice.named)} outputs", "Name one, or give --exits own.")
    meant = _named(listed, choice.named, where) if choice.named else _preferred(listed)
    odd = [x for x in meant if x.name in choice.named and not x.is_class_scores(batch, classes)]
    if odd:
        raise UsageError(
            f"{where}: its output {odd[0].name} has the shape {_shape(odd[0])}, and logits for a batch of "
            f"{batch} have ({batch}x{classes}): {_table(listed)}",
            "Name another output as --logits, or check --classes.",
        )
    fitting = [x for x in meant if x.is_class_scores(batch, classes)]
    logits = [x for x in fitting if not x.is_probabilities]
    if not fitting:
        raise UsageError(
            f"{where} has no output of shape ({batch}x{classes}), as logits for a batch of {batch}: {_table(listed)}",
            "Name another output as --logits, or check --classes." if choice.named else "Check --classes.",
        )
    if not logits:
        raise _probabilities(where, fitting[0].name)
    if choice.own:
        return _own_exits(listed, fitting, logits, choice, where)
    logits = _distinct(logits)
    if len(logits) > 1:
        named = f"--logits {choice.named[0]} names" if choice.named else f"{where} has"
        raise UsageError(
            f"{named} {len(logits)} outputs that can be the class logits: {_table(fitting)}",
            f"Name the classifier, such as --logits {logits[-1].name}. Where they are early exits that it returns in "
            "training and in evaluation mode, give --exits own.",
        )
    return (logits[0].name,)


def _own_exits(
    listed: Sequence[NetworkOutput],
    fitting: Sequence[NetworkOutput],
    logits: Sequence[NetworkOutput],
    choice: OutputChoice,
    where: str,
) -> tuple[str, ...]:
    hint = f"Name the exits, such as --logits {','.join(x.name for x in logits)}." if len(logits) > 1 else _REMEDY
    if len(fitting) > len(logits):
        odd = next(x.name for x in fitting if x.is_probabilities)
        raise (
            _probabilities(where, odd)
            if choice.named
            else UsageError(f"{where}: its output {odd} holds probabilities and others logits: {_table(fitting)}", hint)
        )
    if not choice.named and len({x.name.rpartition(".")[0] for x in fitting}) > 1:
        raise UsageError(f"{where} has outputs of class logits in several places: {_table(fitting)}", hint)
    if len(fitting) < 2:
        raise UsageError(
            f"{where} has one output of class logits, so it has no exits of its own: {_table(listed)}",
            "Give --exits N to attach some.",
        )
    return tuple(x.name for x in fitting)


def _named(listed: Sequence[NetworkOutput], names: Sequence[str], where: str) -> list[NetworkOutput]:
    """Return the outputs called `names`, and those inside containers called so."""
    found: dict[str, NetworkOutput] = {}
    for name in names:
        inside = [x for x in listed if x.name == name or x.name.startswith(f"{name}.")]
        if not inside:
            raise UsageError(f"{where} has no output {name!r}: {_table(listed)}", "Name one of these as --logits.")
        found.update({x.name: x for x in inside})
    return list(found.values())


def _preferred(listed: Sequence[NetworkOutput], names: Sequence[str] = ()) -> list[NetworkOutput]:
    """Return the outputs inside `names`; without names those called `logits`, where there are any, else all."""
    for name in names or (LOGITS,):
        inside = [x for x in listed if x.name == name or x.name.startswith(f"{name}.")]
        if inside:
            return inside
    return list(listed)


def _distinct(outputs: Sequence[NetworkOutput]) -> list[NetworkOutput]:
    """Return one output for each tensor."""
    return list({id(x.tensor): x for x in reversed(outputs)}.values())[::-1]


def _check_structured(modes: Mapping[str, Sequence[NetworkOutput]], where: str) -> None:
    """Refuse a network that returns its exits in one mode only."""
    for mode, outputs in modes.items():
        if _is_alone(outputs):
            raise UsageError(f"{where} returns one output in {mode} mode, so not all of its exits", _SAME_OUTPUTS)


def _check_mode(
    mode: str, outputs: Sequence[NetworkOutput], names: Sequence[str], batch: int, classes: int, where: str
) -> None:
    """Refuse a network that returns its logits in one mode only, or probabilities in this mode."""
    by_name = {x.name: x for x in outputs}
    for name in names or ("",):
        output = outputs[0] if _is_alone(outputs) and outputs else by_name.get(name)
        if output is None and names:
            raise UsageError(f"{where} has no output {name!r} in {mode} mode: {_table(outputs)}", _SAME_OUTPUTS)
        if output is None or (not names and not output.is_class_scores(batch, classes)):
            continue  # the next run reports what it gives instead
        if not output.is_class_scores(batch, classes):
            given = "x".join(map(str, output.tensor.shape))
            raise UsageError(f"{where}: its output {name!r} has the shape {given} in {mode} mode", _SAME_OUTPUTS)
        if output.is_probabilities:
            raise _probabilities(where, name, mode)


def _probabilities(where: str, name: str, mode: str = EVALUATION) -> UsageError:
    what = f"its output {name!r} holds" if name else "it returns"
    return UsageError(
        f"{where}: {what} probabilities in {mode} mode, not logits: values of a softmax or a sigmoid",
        _REMEDY,
    )


def _table(outputs: Sequence[NetworkOutput]) -> str:
    """Return names and shapes of outputs on one line."""
    parts = [f"{x.name or 'the output'} {_shape(x)}" for x in outputs[:_MAX_LISTED]]
    more = f" and {len(outputs) - _MAX_LISTED} more" if len(outputs) > _MAX_LISTED else ""
    return (", ".join(parts) or "no tensor") + more


def _shape(output: NetworkOutput) -> str:
    tensor = output.tensor
    parts = ["x".join(map(str, tensor.shape)) or "a single number"]
    if tensor.dtype != torch.float32:
        parts.append(str(tensor.dtype).removeprefix("torch."))
    if tensor.ndim == 2 and tensor.is_floating_point() and output.is_probabilities:
        parts.append("probabilities")
    return f"({', '.join(parts)})"
