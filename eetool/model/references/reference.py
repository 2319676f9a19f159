"""A resolved model reference, and the helpers that all kinds of references share."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from eetool.errors import MissingError, UsageError
from eetool_runtime.manifest import BATCH, Input

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelReference:
    """A MODEL argument as a checkpoint can hold it: names and numbers only, no paths.

    Attributes:
        backbone: the reference, such as `resnet20` or `hf:vit`.
        inputs: the inputs of the backbone, with a batch dimension.
        classes: number of classes.
        config: configuration beside the name, where a name is not enough.
        limits: exclusive upper bound of the values of each integer input.
    """

    backbone: str
    inputs: tuple[Input, ...]
    classes: int
    config: dict[str, Any] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


def float_input(name: str, shape: Shape) -> tuple[Input, ...]:
    """Return the single float32 input of an image or audio model; `shape` has a batch dimension.

    Raises:
        UsageError: the shape has no dimension after the batch.
    """
    if len(shape) < 2:
        raise UsageError(
            f"an input shape begins with the batch size, and {'x'.join(map(str, shape))} has nothing after it",
            "Such as 1x3x32x32.",
        )
    return (Input(name, "float32", (BATCH, *shape[1:])),)


def extract_logits(output: Any) -> Tensor | None:
    """Return the logits from the output of a classifier of any library, or None where there are none.

    They are the output itself, its item or attribute `logits`, or the first item of a tuple: the rule for files that
    name no output. New models record its name, see `eetool.model.references.output_choice`.
    """
    if isinstance(output, Mapping):
        output = output.get("logits")
    output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def import_library(package: str, install: str) -> Any:
    """Import an optional package.

    Args:
        package: name of the package or module.
        install: command that installs it, for the hint.

    Raises:
        MissingError: it is not installed, or its import fails.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package.partition(".")[0]:
            raise MissingError(f"the package {package} is not installed", f"Install it: {install}") from None
        raise MissingError(f"the package {package} lacks {error.name}", f"Install it again: {install}") from error
    except Exception as error:  # a build for another version of torch fails on import with any type of error
        raise MissingError(
            f"the package {package} is broken: {first_line(error)}", f"Install it again: {install}"
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of the message of `error`, or its type where it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
