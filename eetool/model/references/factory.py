"""`package.module:factory`: a network of the user.

The factory is called without arguments, or with those that the user writes: `package.module:factory(width=8)`. It
returns a module, or a module and `{input name: example tensor}`. An example names the input and fixes its dtype and its
shape except for the batch. Random integers are drawn below its maximum + 1.
This runs code that is installed here or lies in the current directory. A checkpoint holds only the factory's name, and
the name is used only where the user repeats it: see `eetool.model.references.reference_check`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.factory_call import parse_factory
from eetool.model.references.network_form import accepted_form, check_arguments, first_run
from eetool.model.references.output_choice import FIND, OutputChoice, count_classes
from eetool.model.references.reference import ModelReference, Shape, float_input
from eetool.model.user_function import call_function
from eetool_runtime.manifest import BATCH, DTYPES, Input

_HINT = "A factory returns a torch.nn.Module, or (module, {input name: example tensor})."


class UnknownInputError(UsageError):
    """Nothing says which inputs a network takes: neither an example of its factory nor a shape."""


def resolve(reference: str, shape: Shape | None, classes: int | None, choice: OutputChoice = FIND) -> ModelReference:
    """Call the factory in `reference` and describe its network.

    Raises:
        UnknownInputError: the factory gives no example, and there is no `shape`.
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
            own = ", ".join(f"{i.name} {'x'.join(map(str, i.shape))}" for i in inputs)
            raise UsageError(
                f"{name} takes {own}, as its examples say, and not one input of shape {'x'.join(map(str, shape))}",
                "Data sources and a shape on the command line describe one input; without them its examples are used.",
            )
        if shape is not None:
            inputs = (Input(inputs[0].name, inputs[0].dtype, (BATCH, *shape[1:])),)
    elif shape is None:
        raise UnknownInputError(
            f"{name} gives no example of its input", "Give its shape as --input, such as 1x3x32x32."
        )
    else:
        inputs = float_input("input", shape)
    check_arguments(module, [i.name for i in inputs], name)
    classes = classes or _count_classes(module, inputs, examples, reference, choice)
    return ModelReference(name, inputs, classes, arguments or None, limits)


def build(reference: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the network of the factory called with `arguments`, which the user has written or repeated."""
    return _call_checked(reference, arguments)[0]


def _call_checked(reference: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Tensor]]:
    result = call_function(reference, arguments, _HINT)
    module, examples = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise UsageError(f"{reference} gives {kind}, not a torch.nn.Module", _HINT)
    if not isinstance(examples, dict) or not all(isinstance(x, Tensor) and x.ndim for x in examples.values()):
        raise UsageError(f"{reference} gives examples that are not tensors by name", _HINT)
    return accepted_form(module, reference), {key: example.detach().cpu() for key, example in examples.items()}


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
    arguments = tuple(x.clone() for x in examples.values()) or example_inputs(inputs)
    value = first_run(module.eval(), inputs, arguments, reference)
    return count_classes(value, len(arguments[0]), choice, reference)
