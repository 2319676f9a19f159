"""A resolved model reference, and what all schemes share."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eetool.errors import MissingError, UsageError
from eetool_runtime.manifest import BATCH, Input

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelReference:
    """What a MODEL argument stands for, as a checkpoint can hold it: no paths, nothing but names and numbers.

    Args:
        backbone: the reference, `resnet20` or `hf:vit`.
        config: what is needed beside the name, where a name is not enough.
        limits: for integer inputs, what every value must be below.
    """

    backbone: str
    inputs: tuple[Input, ...]
    classes: int
    config: dict[str, Any] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


def float_input(name: str, shape: Shape) -> tuple[Input, ...]:
    """The one input of an image or audio model; `shape` has a batch dimension."""
    if len(shape) < 2:
        raise UsageError(
            f"an input shape begins with the batch size, and {'x'.join(map(str, shape))} has nothing after it",
            "Such as --input 1x3x32x32.",
        )
    return (Input(name, "float32", (BATCH, *shape[1:])),)


def import_library(package: str, install: str) -> Any:
    """Import an optional package; raises MissingError with the line that installs it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package.partition(".")[0]:
            raise MissingError(f"the package {package} is not installed", f"Install it: {install}") from None
        raise MissingError(f"the package {package} lacks {error.name}", f"Install it again: {install}") from error
    except Exception as error:  # a build for another torch fails while it is imported, with whatever type it likes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MissingError(f"the package {package} is broken: {reason}", f"Install it again: {install}") from error
