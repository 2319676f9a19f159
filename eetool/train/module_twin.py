"""A module of the user's own built a second time by its reference: both must be the same network.

A `model.pt` holds the reference and never code. So what is trained on the module is only of use where the reference
builds it again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.module_state import load_state
from eetool.model.references import resolve
from eetool.model.references.factory_call import is_factory
from eetool.model.references.output_choice import OutputChoice, count_classes
from eetool.model.references.outputs import list_outputs
from eetool.model.references.reference import ModelReference
from eetool.model.user_code import user_code
from eetool.train.module_reference import split_reference
from eetool_runtime.manifest import Input

_ROWS = 4
_TOLERANCE = 1e-4  # of two runs of one network, as a share of the largest logit
_TOLERANCE_ELSEWHERE = 2e-2  # GPUs may multiply in TF32
_SHOWN = 3
_ITS_CODE = (
    "Give the code that builds this one: reference='package.module:factory(width=8)', or reference=make, a function "
    "without arguments in a file of yours."
)


def verified_reference(
    module: nn.Module,
    reference: str,
    inputs: tuple[Input, ...],
    example: dict[str, Tensor],
    device: torch.device,
    choice: OutputChoice,
    classes: int | None = None,
) -> ModelReference:
    """Return the resolved reference of a module, after a network built by it gave the same outputs.

    Args:
        module: the network.
        reference: the reference, as `eetool.train.module_reference.module_reference` gives it.
        inputs: inputs of the network.
        example: tensors of its inputs (N, …) by name.
        device: torch device of the module.
        choice: what the user has said about its outputs.
        classes: number of classes; None for the width of the logits.

    Raises:
        UsageError: the reference builds another network.
        ArtefactError: the network's own code fails.
    """
    name, arguments = split_reference(reference)
    rows = [x[:_ROWS] for x in example.values()]
    output = _run(module, rows, device)
    width = classes or count_classes(output, len(rows[0]), choice, name)
    resolved = _resolved(name, arguments, inputs, example, width)
    twin = _build_twin(module, resolved)
    _check_same(output, _run(twin, rows, torch.device("cpu")), device, name)
    return resolved


def _resolved(
    name: str, arguments: dict[str, Any], inputs: tuple[Input, ...], example: dict[str, Tensor], classes: int
) -> ModelReference:
    limits = {key: int(x.max()) + 1 for key, x in example.items() if not x.is_floating_point()}
    config = arguments or None
    if not is_factory(name):
        shape = (1, *(int(size) for size in inputs[0].shape[1:]))
        config = resolve.resolve(name, shape, classes).config
    return ModelReference(name, inputs, classes, config, limits)


def _build_twin(module: nn.Module, reference: ModelReference) -> nn.Module:
    """Build the network by its reference, with the weights of `module`.

    Raises:
        UsageError: the reference builds another network.
    """
    name = reference.backbone
    twin = resolve.build_raw(name, reference.inputs, reference.classes, reference.config).eval()
    own, built = _shapes(module), _shapes(twin)
    if own != built:
        different = [key for key in {**own, **built} if own.get(key) != built.get(key)]
        lines = [f"{key} is {own.get(key, 'missing')} here and {built.get(key, 'missing')} there" for key in different]
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise UsageError(
            f"{name} builds another network than this module: {'; '.join(lines[:_SHOWN])}{more}", _ITS_CODE
        )
    load_state(twin, {key: x.cpu() for key, x in module.state_dict().items()})
    return twin


def _shapes(module: nn.Module) -> dict[str, str]:
    tensors = {name: x for name, x in module.state_dict().items() if isinstance(x, Tensor)}
    return {name: f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}" for name, x in tensors.items()}


def _run(module: nn.Module, rows: Sequence[Tensor], device: torch.device) -> Any:
    """Return the output of a module in evaluation mode; its modes stay as they are."""
    with _evaluated(module), torch.no_grad(), user_code("the network", module):
        return module(*(x.to(device, copy=True) for x in rows))


def _check_same(own: Any, built: Any, device: torch.device, name: str) -> None:
    """Refuse a reference that builds a network with the same weights and other outputs, such as another stride.

    Args:
        own: output of the user's module.
        built: output of the network that was built by the reference.
        device: torch device of the module.
        name: the reference, for messages.
    """
    share = _TOLERANCE if device.type == "cpu" else _TOLERANCE_ELSEWHERE
    for a, b in zip(list_outputs(own), list_outputs(built), strict=False):
        x, y = a.tensor.detach().cpu(), b.tensor.detach()
        if x.is_floating_point() and (x.shape != y.shape or _largest(x - y) > share * max(1.0, _largest(y))):
            raise UsageError(
                f"{name} builds a network that gives other outputs than this module, with the same weights", _ITS_CODE
            )


def _largest(x: Tensor) -> float:
    return float(x.abs().nan_to_num(0).max())


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode inside the block, and restore the mode of each part after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
