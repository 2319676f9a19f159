"""Inputs of a model reference for tracing, counting and parity samples."""

import torch
from torch import Tensor

from eetool.model.references.reference import ModelReference
from eetool_runtime.manifest import Input


def example_inputs(inputs: tuple[Input, ...], batch: int = 1) -> tuple[Tensor, ...]:
    """Return valid inputs for tracing and counting: zeros, and ones where an input is a mask."""
    return tuple(_full(spec, batch, 1 if _is_mask(spec) else 0) for spec in inputs)


def random_samples(reference: ModelReference, count: int, seed: int) -> dict[str, Tensor]:
    """Draw `count` random inputs: normal noise, ids below their limit, and masks with padding at the end.

    Returns:
        One tensor (count, …) for each input name.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = {}
    for spec in reference.inputs:
        shape = (count, *(int(size) for size in spec.shape[1:]))
        dtype: torch.dtype = getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            samples[spec.name] = torch.randn(shape, generator=generator)
        elif _is_mask(spec):
            lengths = torch.randint(1, shape[-1] + 1, (*shape[:-1], 1), generator=generator)
            samples[spec.name] = (torch.arange(shape[-1]) < lengths).to(dtype)
        else:
            high = max(1, reference.limits.get(spec.name, 1))
            samples[spec.name] = torch.randint(0, high, shape, generator=generator).to(dtype)
    return samples


def _is_mask(spec: Input) -> bool:
    """Return True for attention masks, recognised by name. They must not be all zeros."""
    return spec.dtype != "float32" and "mask" in spec.name


def _full(spec: Input, batch: int, value: int) -> Tensor:
    shape = [batch if isinstance(size, str) else size for size in spec.shape]
    return torch.full(shape, value, dtype=getattr(torch, spec.dtype))
