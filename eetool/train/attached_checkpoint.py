"""Checkpoint of a network that was trained in a loop of the user's own."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from eetool.data.contents import source_contents
from eetool.data.splits import TEMPERATURE, TRAIN
from eetool.errors import ArtefactError, UsageError
from eetool.metrics import is_chance
from eetool.model.checkpoint import Checkpoint
from eetool.model.checkpoint_rules import check_checkpoint
from eetool.model.early_exit import AttachedModel, EarlyExitNet
from eetool.model.spec import CheckpointRecord, ModelSpec
from eetool.train.attached_module import OWN_LOOP
from eetool.train.labelled_data import LabelledData
from eetool_runtime.manifest import BATCH, Input

_SAMPLES = 32
_TRIED = 256  # training examples whose accuracy is compared with chance
_STANDARD_ERRORS = 3.0


def checkpoint_of(
    net: nn.Module, data: LabelledData | None = None, labels: Sequence[str] | None = None, stacklevel: int = 2
) -> Checkpoint:
    """Return the checkpoint of a network that `attach_to_module` made.

    Its weights are copied. With `data` it records the splits, so that thresholds are fitted on examples which were not
    trained on; the loop must have used the split `train` alone.

    Args:
        net: the network, or one of torch's wrappers around it.
        data: the data that it was trained on.
        labels: names of the classes, without `data`.
        stacklevel: of the warning that the network is no better than chance on `data`.

    Raises:
        UsageError: it is no such network, or the data or labels do not fit it.
        ArtefactError: a weight is not finite, or its own code builds another network.
    """
    net, attached = _attached(net)
    spec, samples = replace(attached.spec, labels=_labels(attached.spec, data, labels)), attached.samples
    record = contents = None
    if data is not None:
        spec, record = replace(spec, inputs=(_input(spec, data),)), data.record
        contents = source_contents(data.source)
        held_out = data.split(TEMPERATURE).tensors(_SAMPLES)[0]
        samples = {spec.inputs[0].name: held_out}
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    checkpoint = Checkpoint(CheckpointRecord(spec, OWN_LOOP, record, contents=contents), state, samples)
    check_checkpoint(checkpoint.record, state, samples, _refuse)
    built = checkpoint.build()
    if data is not None:
        _warn_at_chance(built, data, stacklevel + 1)
    return checkpoint


def find_early_exit_net(module: nn.Module) -> EarlyExitNet:
    """Return the early-exit network inside the wrappers of torch, or `module` itself.

    Raises:
        UsageError: there is none.
    """
    inner = module
    while not isinstance(inner, EarlyExitNet):
        wrapped = getattr(inner, "_orig_mod", None)
        if wrapped is None and isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            wrapped = inner.module
        if not isinstance(wrapped, nn.Module):
            raise UsageError(
                f"{type(module).__name__} is not the network with exits", "Give the module that attach_exits returned."
            )
        inner = wrapped
    return inner


def _attached(module: nn.Module) -> tuple[EarlyExitNet, AttachedModel]:
    net = find_early_exit_net(module)
    if net.attached is None:
        raise UsageError(
            "this network does not come from attach_exits, so its code is not known", "Save its checkpoint instead."
        )
    return net, net.attached


def _labels(spec: ModelSpec, data: LabelledData | None, labels: Sequence[str] | None) -> tuple[str, ...]:
    if data is not None and labels is not None and tuple(labels) != data.classes:
        raise UsageError("labels contradict the classes of the data", "Give one of them.")
    names = data.classes if data is not None else tuple(labels) if labels is not None else spec.labels
    if len(names) != len(spec.labels):
        what = "the data has" if data is not None else "there are"
        raise UsageError(f"{what} {len(names)} classes, and the network {len(spec.labels)}", "Both must be equal.")
    return names


def _input(spec: ModelSpec, data: LabelledData) -> Input:
    """Return the input of the network with the rule that makes it from the data.

    Raises:
        UsageError: the network takes other inputs.
    """
    example = data.split(TEMPERATURE).tensors(1)[0]
    item, dtype = spec.inputs[0], str(example.dtype).removeprefix("torch.")
    if len(spec.inputs) > 1 or item.dtype != dtype or tuple(item.shape[1:]) != tuple(example.shape[1:]):
        own = ", ".join(f"{i.name} {i.dtype} {'x'.join(map(str, i.shape[1:]))}" for i in spec.inputs)
        shape = "x".join(map(str, example.shape[1:]))
        raise UsageError(
            f"the network takes {own}, and {data.source.name} gives {dtype} {shape}",
            "Give the data that it was trained on, or leave data out.",
        )
    return Input(item.name, dtype, (BATCH, *example.shape[1:]), data.preprocess, data.source.text_rule)


def _warn_at_chance(net: EarlyExitNet, data: LabelledData, stacklevel: int) -> None:
    """Warn where the final exit is no better on training examples than the most frequent class.

    The usual reason is a loop whose inputs are normalised in another way than the data says.
    """
    inputs, labels = data.split(TRAIN).tensors(_TRIED)
    with torch.no_grad():
        right = (net(inputs)[-1].argmax(1) == labels).numpy()
    if is_chance(right, labels.numpy(), _STANDARD_ERRORS):
        warnings.warn(
            f"the final exit is right for {right.mean():.0%} of {len(labels)} training examples, which is chance: was "
            "the network trained, and on inputs normalised as in load_data(…, normalise=…)?",
            stacklevel=stacklevel + 1,
        )


def _refuse(reason: str) -> ArtefactError:
    return ArtefactError(f"this network cannot be saved: {reason}")
