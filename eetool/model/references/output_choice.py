"""Choice of the outputs of a network that are class logits (docs/decisions/0032).

It is made once, from a run in evaluation mode and a run in training mode. The names are recorded with the network and
hold in both modes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.references.outputs import (
    LOGITS,
    SAME_OUTPUTS,
    NetworkOutput,
    list_names,
    list_outputs,
    run_outputs,
    shape_text,
)
from eetool.wording import counted
from eetool_runtime.near_names import did_you_mean

_EVALUATION, _TRAINING = "evaluation", "training"
_REMEDY = (
    "Return the values before the softmax or sigmoid, in training and in evaluation mode: the loss and the gates take "
    "the softmax themselves. Without them, torch.log(p.clamp_min(1e-30)) turns probabilities of a softmax into logits."
)


@dataclass(frozen=True)
class OutputChoice:
    """The user's choice among the outputs.

    Attributes:
        named: outputs, or containers of outputs, that hold class logits; empty to find them.
        own: the outputs are the network's own exits.
    """

    named: tuple[str, ...] = ()
    own: bool = False


FIND = OutputChoice()


def count_classes(value: Any, batch: int, choice: OutputChoice, where: str) -> int:
    """Return the number of classes of a network from its return value for `batch` inputs.

    Raises:
        UsageError: no output is (N, classes), or they have different widths.
    """
    listed = list_outputs(value)
    fitting = [x for x in _preferred(listed, choice.named) if x.is_class_scores(batch, None)]
    if not fitting:
        raise UsageError(
            f"{where} does not give logits (N, classes): {list_names(listed)}", "Only classifiers can be used."
        )
    widths = sorted({int(x.tensor.shape[1]) for x in fitting})
    if len(widths) > 1:
        raise UsageError(
            f"{where} has outputs of different widths, so its number of classes is not known: {list_names(fitting)}",
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
    alike = _run_training_branch(module, inputs)
    trained = run_outputs(module.train(), inputs)  # the last, because it changes statistics
    module.eval()
    modes = {_EVALUATION: evaluated, **({} if trained is None else {_TRAINING: trained})}
    structured = {mode: outputs for mode, outputs in modes.items() if not _is_alone(outputs)}
    if not structured:
        _refuse_choice(choice, where)
        names: tuple[str, ...] = ()
    else:
        if choice.own:
            _check_structured(modes, where)
        mode, listed = next(iter(structured.items()))
        if len(structured) < len(modes) and not choice.named:
            listed = _equal_to_the_other(listed, evaluated, alike)
        names = _choose(listed, batch, classes, choice, where if mode == _EVALUATION else f"{where} in {mode} mode")
        _check_same_values(evaluated, alike, names, where)
    for mode, outputs in modes.items():
        _check_mode(mode, outputs, names, batch, classes, where)
    return names


def _run_training_branch(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[NetworkOutput]:
    """Run what a network does in training mode, but with its layers in evaluation mode, so that values can be compared.

    Modules that contain others are in training mode; a normalisation or a dropout contains none. Where it fails, there
    is nothing to compare.
    """
    module.eval()
    for part in module.modules():
        part.training = next(part.children(), None) is not None
    outputs = run_outputs(module, inputs)
    module.eval()
    return outputs or []


def _equal_to_the_other(
    listed: Sequence[NetworkOutput], evaluated: Sequence[NetworkOutput], alike: Sequence[NetworkOutput]
) -> list[NetworkOutput]:
    """Return the output of one mode that equals the one tensor of the other; all of them where it is not clear."""
    alone, several = (evaluated, alike) if _is_alone(evaluated) else (alike, evaluated)
    if not alone or not _is_alone(alone):
        return list(listed)
    equal = _distinct([x for x in several if _are_equal(x, alone[0])])  # fresh weights of zeros make all outputs equal
    return [x for x in listed if len(equal) == 1 and x.name == equal[0].name] or list(listed)


def _check_same_values(
    evaluated: Sequence[NetworkOutput], alike: Sequence[NetworkOutput], names: Sequence[str], where: str
) -> None:
    """Refuse names under which the modes return different outputs."""
    for name in names:
        here, there = _called(evaluated, name), _called(alike, name)
        if here is None or there is None or _are_equal(here, there):
            continue
        others = [x for x in alike if _are_equal(here, x)] + [x for x in evaluated if _are_equal(there, x)]
        if others:
            what = f"{name!r} in evaluation mode is {others[0].name!r} in training mode"
            if _is_alone(evaluated):
                what = f"evaluation mode returns what is {others[0].name!r} in training mode, not {name!r}"
            raise UsageError(f"{where}: {what}", SAME_OUTPUTS)


def _called(outputs: Sequence[NetworkOutput], name: str) -> NetworkOutput | None:
    if outputs and _is_alone(outputs):
        return outputs[0]
    return next((x for x in outputs if x.name == name), None)


def _are_equal(a: NetworkOutput, b: NetworkOutput) -> bool:
    x, y = a.tensor, b.tensor
    comparable = x.shape == y.shape and x.dtype == y.dtype and x.is_floating_point()
    return comparable and torch.allclose(x, y, rtol=1e-4, atol=1e-5)


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
        raise UsageError(f"--logits names {counted(len(choice.named), 'output')}", "Name one, or give --exits own.")
    meant = _named(listed, choice.named, where) if choice.named else _preferred(listed)
    odd = [x for x in meant if x.name in choice.named and not x.is_class_scores(batch, classes)]
    if odd:
        raise UsageError(
            f"{where}: its output {odd[0].name} has the shape {shape_text(odd[0])}, and logits for a batch of "
            f"{batch} have ({batch}x{classes}): {list_names(listed)}",
            "Name another output as --logits, or check --classes.",
        )
    fitting = [x for x in meant if x.is_class_scores(batch, classes)]
    logits = [x for x in fitting if not x.is_probabilities]
    if not fitting:
        raise UsageError(
            f"{where} has no output ({batch}x{classes}), as logits for a batch of {batch} are: {list_names(listed)}",
            "Name another output as --logits, or check --classes." if choice.named else "Check --classes.",
        )
    if not logits:
        raise _probabilities(where, fitting[0].name)
    called = [x.name for x in listed]
    doubled = [x.name for x in logits if called.count(x.name) > 1]
    if doubled:
        raise UsageError(f"{where} has two outputs called {doubled[0]}: {list_names(listed)}", "Rename one.")
    if choice.own:
        return _own_exits(listed, fitting, logits, choice, where)
    logits = _distinct(logits)
    if len(logits) > 1:
        named = f"--logits {choice.named[0]} names" if choice.named else f"{where} has"
        raise UsageError(
            f"{named} {counted(len(logits), 'output')} that can be the class logits: {list_names(fitting)}",
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
        if choice.named:
            raise _probabilities(where, odd)
        reason = f"{where}: its output {odd} holds probabilities and others logits: {list_names(fitting)}"
        raise UsageError(reason, hint)
    if not choice.named and len({x.name.rpartition(".")[0] for x in fitting}) > 1:
        raise UsageError(f"{where} has outputs of class logits in several places: {list_names(fitting)}", hint)
    if len(fitting) < 2:
        raise UsageError(
            f"{where} has one output of class logits, so it has no exits of its own: {list_names(listed)}",
            "Give --exits N to attach some.",
        )
    return tuple(x.name for x in fitting)


def _named(listed: Sequence[NetworkOutput], names: Sequence[str], where: str) -> list[NetworkOutput]:
    """Return the outputs called `names`, and those inside containers called so."""
    found: dict[str, NetworkOutput] = {}
    for name in names:
        inside = [x for x in listed if x.name == name or x.name.startswith(f"{name}.")]
        if not inside:
            meant = did_you_mean(name, [x.name for x in listed])
            hint = f"{meant}Name one of these as --logits."
            raise UsageError(f"{where} has no output {name!r}: {list_names(listed)}", hint)
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
            raise UsageError(f"{where} returns one output in {mode} mode, so not all of its exits", SAME_OUTPUTS)


def _check_mode(
    mode: str, outputs: Sequence[NetworkOutput], names: Sequence[str], batch: int, classes: int, where: str
) -> None:
    """Refuse a network that returns its logits in one mode only, or probabilities in this mode."""
    for name in names or ("",):
        output = _called(outputs, name)
        if output is None and names:
            raise UsageError(f"{where} has no output {name!r} in {mode} mode: {list_names(outputs)}", SAME_OUTPUTS)
        if output is None or (not names and not output.is_class_scores(batch, classes)):
            continue  # the next run reports what it gives instead
        if not output.is_class_scores(batch, classes):
            given = "x".join(map(str, output.tensor.shape))
            raise UsageError(f"{where}: its output {name!r} has the shape {given} in {mode} mode", SAME_OUTPUTS)
        if output.is_probabilities:
            raise _probabilities(where, name, mode)


def _probabilities(where: str, name: str, mode: str = _EVALUATION) -> UsageError:
    what = f"its output {name!r} holds" if name else "it returns"
    return UsageError(
        f"{where}: {what} probabilities in {mode} mode, not logits: values of a softmax or a sigmoid",
        _REMEDY,
    )
