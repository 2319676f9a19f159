"""Form of a user's network that eetool can attach exits to, train and export: eager, on this processor, in float32."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import EarlyExitError, UsageError
from eetool.model.user_code import describe, error_place, remedy
from eetool_runtime.manifest import Input

_OTHER_INPUTS = "Give inputs of the shape that it takes, or correct its forward."
_NO_HOOKS = "Return the network as it was before torch.jit.script or torch.jit.trace."


def accepted_form(module: nn.Module, name: str) -> nn.Module:
    """Return `module` on the processor in float32, without the wrapper of torch.compile.

    Raises:
        UsageError: it is compiled by torch.jit, or its weights have no values.
    """
    compiled = getattr(module, "_orig_mod", None)  # torch.compile's class is not imported, which takes a second
    if isinstance(compiled, nn.Module):
        module = compiled
    for path, inner in module.named_modules():
        if isinstance(inner, torch.jit.ScriptModule):
            where = path or "the whole network"
            raise UsageError(
                f"{name} is compiled by torch.jit ({where}), so no exit can be attached inside, nor can it be exported",
                _NO_HOOKS,
            )
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    empty = [path for path, tensor in tensors.items() if tensor.is_meta]
    if empty and not torch.empty(()).is_meta:  # a size check builds networks without values on purpose
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise UsageError(
            f"{name}: the tensor {empty[0]}{more} is on the device meta, so it has no values",
            "A factory returns a network with initial weights on the processor.",
        )
    if any(not tensor.is_cpu and not tensor.is_meta for tensor in tensors.values()):
        module = module.cpu()
    if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in tensors.values()):
        module = module.float()
    return module


def check_arguments(module: nn.Module, inputs: Sequence[str], name: str) -> None:
    """Raise UsageError where the network's forward cannot be called with these inputs by position."""
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*inputs)
    except TypeError as error:
        required = [p for p in signature.parameters.values() if p.default is p.empty]
        if any(p.kind is p.KEYWORD_ONLY for p in required) and len(required) == len(inputs):
            hint = "Let forward take its inputs by position: leave out the * in front of them."
        else:
            hint = "With several inputs its factory returns (module, {input name: example tensor}), one per input."
        given = f"{len(inputs)} input{'s' if len(inputs) > 1 else ''} ({', '.join(inputs)})"
        raise UsageError(f"{name}: its forward{signature} does not take {given}: {error}", hint) from None


def first_run(module: nn.Module, inputs: Sequence[Input], arguments: Sequence[Tensor], name: str) -> Any:
    """Return the output of a network that runs for the first time, on `arguments` for its `inputs`.

    Raises:
        UsageError: it fails, most often because it takes inputs of another shape.
    """
    try:
        with torch.no_grad():
            return module(*arguments)
    except EarlyExitError:
        raise
    except (Exception, SystemExit) as error:  # the network's own code, or torch's for sizes that do not fit
        shapes = ", ".join(f"{i.name} {'x'.join(map(str, i.shape))}" for i in inputs)
        reason = f"{name} does not take {shapes}{error_place(error, module)}: {describe(error)}"
        raise UsageError(reason, remedy(error) or _OTHER_INPUTS) from error
