"""`package.module:factory`: a network of the user.

The factory is called without arguments, or with those that the user writes: `package.module:factory(width=8)`. It
returns a module, or a module and `{input name: example tensor}`. An example names the input and fixes its dtype and its
shape except for the batch. Random integers are drawn below its maximum + 1.
This runs code that is installed here or lies in the current directory. A checkpoint holds only the factory's name, and
the name is used only where the user repeats it: see `eetool.model.references.reference_check`.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, UsageError
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.factory_call import parse_factory
from eetool.model.references.output_choice import FIND, OutputChoice, count_classes
from eetool.model.references.reference import ModelReference, Shape, float_input
from eetool_runtime.manifest import BATCH, DTYPES, Input

_HINT = "A factory returns a torch.nn.Module, or (module, {input name: example tensor})."


def resolve(reference: str, shape: Shape | None, classes: int | None, choice: OutputChoice = FIND) -> ModelReference:
    """Call the factory in `reference` and describe its network.

    Raises:
        UsageError: the factory does not exist or returns no network, or `shape` does not fit its inputs.
        ArtefactError: the factory failed.
    """
    name, arguments = parse_factory(reference)
    module, examples = _call_checked(name, arguments)
    limits: dict[str, int] = {}
    if examples:
        inputs = tuple(_input(key, example, name) for key, example in examples.items())
        limits = {n: int(x.max()) + 1 for n, x in examples.items() if not x.is_floating_point()}
        if shape is not None and (len(inputs) > 1 or len(shape) != len(inputs[0].shape)):
            raise UsageError(f"{name} names its own inputs, and --input does not fit them", "Leave --input away.")
        if shape is not None:
            inputs = (Input(inputs[0].name, inputs[0].dtype, (BATCH, *shape[1:])),)
    elif shape is None:
        raise UsageError(f"{name} gives no example of its input", "Give its shape as --input, such as 1x3x32x32.")
    else:
        inputs = float_input("input", shape)
    classes = classes or _count_classes(module, inputs, examples, reference, choice)
    return ModelReference(name, inputs, classes, arguments or None, limits)


def build(reference: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the network of the factory called with `arguments`, which the user has written or repeated."""
    return _call_checked(reference, arguments)[0]


def _call_checked(reference: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Tensor]]:
    result = _call(reference, arguments)
    module, examples = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(module, nn.Module):
        raise UsageError(f"{reference} gives {type(module).__name__}, not a torch.nn.Module", _HINT)
    if not isinstance(examples, dict) or not all(isinstance(x, Tensor) and x.ndim for x in examples.values()):
        raise UsageError(f"{reference} gives examples that are not tensors by name", _HINT)
    return module, examples


def _call(reference: str, arguments: Mapping[str, Any]) -> Any:
    """Call the factory with the current directory importable, as for `python -m`."""
    name, _, attribute = reference.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        factory = importlib.import_module(name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
        return factory(**arguments)  # type: ignore[operator]
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {error.name!r}", "It must be installed or lie in this folder."
            ) from None
        raise ArtefactError(f"{reference} failed: {error}", "Install what it needs.") from error
    except AttributeError as error:
        if error.name == attribute.rpartition(".")[2]:
            raise UsageError(f"the module {name!r} has no {attribute!r}", _HINT) from None
        raise ArtefactError(f"{reference} failed: {error}", _HINT) from error
    except Exception as error:  # the user's code can raise anything
        raise ArtefactError(f"{reference} failed: {type(error).__name__}: {error}", _HINT) from error
    finally:
        sys.path.remove(here)


def _input(name: str, example: Tensor, reference: str) -> Input:
    dtype = str(example.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise UsageError(f"{reference}: the input {name!r} has dtype {dtype}", f"A bundle takes {', '.join(DTYPES)}.")
    return Input(name, dtype, (BATCH, *example.shape[1:]))


def _count_classes(
    module: nn.Module,
    inputs: tuple[Input, ...],
    examples: dict[str, Tensor],
    reference: str,
    choice: OutputChoice,
) -> int:
    arguments = tuple(examples.values()) or example_inputs(inputs)
    try:
        with torch.no_grad():
            value = module.eval()(*arguments)
    except Exception as error:  # the user's code can raise anything
        raise UsageError(f"{reference} does not run: {type(error).__name__}: {error}", "Check --input.") from error
    return count_classes(value, len(arguments[0]), choice, reference)
