"""MODEL arguments: a built-in backbone, one of a library, or a factory of the user's own.

A reference is resolved once, with whatever it reads from disk; from the `ModelReference` alone, which a checkpoint holds,
the backbone is built again.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import EarlyExitError, UsageError
from eetool.model.backbones.registry import VOCABULARY, build_backbone, is_text
from eetool.model.references import factory, hf, libraries
from eetool.model.references.reference import ModelReference, Shape, float_input
from eetool_runtime.manifest import BATCH, Input

__all__ = ["ModelReference", "build", "check_backbone", "extract_logits", "random_samples", "resolve", "zero_inputs"]

_BUILT_IN_SHAPE = (1, 3, 32, 32)
_BUILT_IN_CLASSES = 10
_TEXT_SHAPE, _TEXT_IDS = (1, 64), 8192


def resolve(
    model: str,
    shape: Shape | None = None,
    classes: int | None = None,
    vocabulary: int | None = None,
    config: dict[str, Any] | None = None,
) -> ModelReference:
    """What `model` stands for. What is not given is what the reference itself says, or the usual.

    Args:
        vocabulary: of a built-in text model, how many token ids there are.
        config: what a search says of a name: of `hf:TYPE` what differs from its defaults, and no file is read; of a
            built-in text model its vocabulary.

    Raises:
        UsageError: there is no such model, or it does not take inputs of this shape.
        MissingError: its library is not installed, or broken.
        ArtefactError: its configuration cannot be read, or the factory failed.
    """
    scheme, colon, name = model.partition(":")
    if is_text(model):
        ids = vocabulary or (config or {}).get(VOCABULARY) or _TEXT_IDS
        _, *sizes = shape or _TEXT_SHAPE
        reads = (Input("input_ids", "int64", (BATCH, *sizes)),)
        return ModelReference(model, reads, classes or 2, {VOCABULARY: ids}, {reads[0].name: ids})
    if not colon:
        inputs = float_input("input", shape or _BUILT_IN_SHAPE)
        return ModelReference(model, inputs, classes or _BUILT_IN_CLASSES)
    if scheme == "hf":
        return hf.resolve(name, shape, classes, config)
    if scheme == "timm":
        return libraries.resolve_timm(name, shape, classes)
    if scheme == "torchvision":
        return libraries.resolve_torchvision(name, shape, classes)
    return factory.resolve(model, shape, classes)


def build(backbone: str, inputs: tuple[Input, ...], classes: int, config: dict[str, Any] | None = None) -> nn.Module:
    """The backbone of a resolved reference with fresh weights; called with its inputs in order it gives logits."""
    scheme, colon, name = backbone.partition(":")
    shape = (1, *(int(size) for size in inputs[0].shape[1:]))
    if not colon:
        return build_backbone(backbone, inputs[0].shape, classes, config)
    if scheme == "hf":
        model = hf.build(name, inputs, classes, config or {})
    elif scheme == "timm":
        model = libraries.build_timm(name, shape, classes)
    elif scheme == "torchvision":
        model = libraries.build_torchvision(name, shape, classes)
    else:
        model = factory.build(backbone, config or {})
    model.register_forward_hook(_logits_only)
    return model


def check_backbone(backbone: nn.Module, reference: ModelReference) -> None:
    """Run the backbone once; raises UsageError where it does not take its inputs or gives no logits (N, classes)."""
    shown = ", ".join(f"{i.name} {'x'.join(map(str, i.shape))}" for i in reference.inputs)
    try:
        with torch.no_grad():
            logits = backbone(*zero_inputs(reference.inputs, 2))
    except EarlyExitError:
        raise
    except Exception as error:  # the network's own code, or torch's for sizes that do not fit
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{reference.backbone} does not take {shown}: {reason}", "Give another --input.") from error
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, reference.classes):
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        wanted = f"logits of shape (2, {reference.classes})"
        raise UsageError(f"{reference.backbone} gives {found} for a batch of 2, not {wanted}", "Check --classes.")


def extract_logits(output: Any) -> Tensor | None:
    """The logits in what a classifier of any library returns: alone, first in a tuple, or under that name."""
    if isinstance(output, Mapping):
        output = output.get("logits")
    output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def _logits_only(module: nn.Module, arguments: Any, output: Any) -> Any:
    logits = extract_logits(output)
    return output if logits is None else logits


def zero_inputs(inputs: tuple[Input, ...], batch: int = 1) -> tuple[Tensor, ...]:
    """Valid inputs for tracing and counting: zeros, and ones where an input is a mask."""
    return tuple(_fill(spec, batch, 1 if is_mask(spec) else 0) for spec in inputs)


def random_samples(reference: ModelReference, count: int, seed: int) -> dict[str, Tensor]:
    """`count` random inputs: noise, ids below their limit, and masks that end somewhere (padding is at the end)."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for spec in reference.inputs:
        shape = (count, *(int(size) for size in spec.shape[1:]))
        dtype: torch.dtype = getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            made[spec.name] = torch.randn(shape, generator=generator)
        elif is_mask(spec):
            lengths = torch.randint(1, shape[-1] + 1, (*shape[:-1], 1), generator=generator)
            made[spec.name] = (torch.arange(shape[-1]) < lengths).to(dtype)
        else:
            high = max(1, reference.limits.get(spec.name, 1))
            made[spec.name] = torch.randint(0, high, shape, generator=generator).to(dtype)
    return made


def is_mask(spec: Input) -> bool:
    """Whether the input says which tokens count, by its name: no mask of a library is all zeros."""
    return spec.dtype != "float32" and "mask" in spec.name


def _fill(spec: Input, batch: int, value: int) -> Tensor:
    shape = [batch if isinstance(size, str) else size for size in spec.shape]
    return torch.full(shape, value, dtype=getattr(torch, spec.dtype))
