"""Example batch of a module of the user's own: its inputs, and the samples that are kept with it."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.references.example_inputs import random_samples
from eetool.model.references.network_form import check_arguments
from eetool.model.references.reference import ModelReference
from eetool_runtime.manifest import BATCH, DTYPES, Input

Example = Tensor | np.ndarray | Mapping[str, Tensor] | Sequence[Tensor]
_SAMPLES, _FEWEST_SAMPLES = 32, 4
_SAMPLE_ELEMENTS = 1 << 20  # limit of all samples together, to keep checkpoints and bundles small


def describe_example(module: nn.Module, example: Example) -> tuple[tuple[Input, ...], dict[str, Tensor]]:
    """Return the inputs of a network and its example as tensors on this processor by name.

    Raises:
        UsageError: the example is no batch of tensors that a bundle can take, or `module` takes others.
    """
    tensors = named_tensors(module, example)
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            remedy = "Give example.float()." if tensor.is_floating_point() or tensor.dtype == torch.uint8 else None
            raise UsageError(
                f"the example {name!r} has the dtype {dtype}, and a bundle takes {', '.join(DTYPES)}", remedy
            )
        if tensor.ndim < 2 or not len(tensor):
            shape = "x".join(map(str, tensor.shape)) or "a single number"
            raise UsageError(f"the example {name!r} is {shape}, not a batch (N, …)", "One input is example[None].")
    inputs = tuple(
        Input(name, str(x.dtype).removeprefix("torch."), (BATCH, *x.shape[1:])) for name, x in tensors.items()
    )
    check_arguments(module, list(tensors), type(module).__name__)
    return inputs, tensors


def named_tensors(module: nn.Module, example: Example) -> dict[str, Tensor]:
    """Return the tensors of an example on this processor by name; several without names have those of forward.

    Raises:
        UsageError: it holds something else.
    """
    if isinstance(example, (Tensor, np.ndarray)):
        given: Mapping[str, Any] = {"input": example}
    elif isinstance(example, Mapping):
        given = {str(name): tensor for name, tensor in example.items()}
    elif isinstance(example, (tuple, list)) and example:
        names = [p.name for p in inspect.signature(module.forward).parameters.values()]
        given = dict(zip([*names, *(f"input{i}" for i in range(len(names), len(example)))], example, strict=False))
        given = given if len(example) > 1 else {"input": example[0]}
    else:
        given = {}
    tensors = {name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in given.items()}
    if not tensors or not all(isinstance(x, Tensor) for x in tensors.values()):
        raise UsageError(
            f"the example is {type(example).__name__}, not a batch of tensors",
            "Give the inputs of one batch, such as next(iter(loader))[0], or {name: tensor} for several inputs.",
        )
    return {name: x.detach().cpu() for name, x in tensors.items()}


def enough_samples(samples: dict[str, Tensor], reference: ModelReference) -> dict[str, Tensor]:
    """Return up to 32 of the example's inputs, filled up with random ones to 4."""
    elements = sum(x[0].numel() for x in samples.values())
    most = min(_SAMPLES, max(_FEWEST_SAMPLES, _SAMPLE_ELEMENTS // max(elements, 1)))
    rows = {name: x[:most].contiguous().clone() for name, x in samples.items()}
    missing = _FEWEST_SAMPLES - len(next(iter(rows.values())))
    if missing <= 0:
        return rows
    more = random_samples(reference, missing, seed=0)
    return {name: torch.cat([x, more[name]]) for name, x in rows.items()}
