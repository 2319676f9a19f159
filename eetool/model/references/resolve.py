"""MODEL arguments: a built-in backbone, a model of a library, or a factory of the user.

A reference is resolved once, together with any file that it reads. The backbone is later rebuilt from the
`ModelReference` alone, which a checkpoint holds.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.backbones.registry import VOCABULARY, build_backbone, is_text, recorded_name
from eetool.model.references import factory, hf, libraries
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.network_form import first_run
from eetool.model.references.output_choice import FIND, OutputChoice
from eetool.model.references.outputs import as_float32, find_output
from eetool.model.references.reference import ModelReference, Shape, extract_logits, float_input
from eetool_runtime.manifest import BATCH, Input

_BUILT_IN_SHAPE = (1, 3, 32, 32)
_BUILT_IN_CLASSES = 10
_TEXT_SHAPE, _TEXT_IDS = (1, 64), 8192


def resolve(
    model: str,
    shape: Shape | None = None,
    classes: int | None = None,
    vocabulary: int | None = None,
    config: dict[str, Any] | None = None,
    choice: OutputChoice = FIND,
) -> ModelReference:
    """Resolve the MODEL argument `model`. Values not given come from the reference itself or are defaults.

    Args:
        model: the reference.
        shape: shape of the input, with a batch dimension.
        classes: number of classes.
        vocabulary: number of token ids of a built-in text model.
        config: configuration that a search gives beside the name. For `hf:TYPE` it holds the differences from the
            defaults, and no file is read. For a built-in text model it holds the vocabulary.
        choice: what the user has said about its outputs.

    Raises:
        UsageError: there is no such model, or it does not take inputs of this shape.
        MissingError: its library is not installed, or broken.
        ArtefactError: its configuration cannot be read, or the factory failed.
    """
    scheme, colon, name = model.partition(":")
    if is_text(model):
        ids = vocabulary or (config or {}).get(VOCABULARY) or _TEXT_IDS
        _, *sizes = shape or _TEXT_SHAPE
        tokens = Input("input_ids", "int64", (BATCH, *sizes))
        return ModelReference(model, (tokens,), classes or 2, {VOCABULARY: ids}, {tokens.name: ids})
    if not colon:
        inputs = float_input("input", shape or _BUILT_IN_SHAPE)
        return ModelReference(recorded_name(model, inputs[0].shape), inputs, classes or _BUILT_IN_CLASSES)
    if scheme == "hf":
        return hf.resolve(name, shape, classes, config)
    if scheme == "timm":
        return libraries.resolve_timm(name, shape, classes)
    if scheme == "torchvision":
        return libraries.resolve_torchvision(name, shape, classes)
    return factory.resolve(model, shape, classes, choice)


def build(
    backbone: str,
    inputs: tuple[Input, ...],
    classes: int,
    config: dict[str, Any] | None = None,
    outputs: Sequence[str] = (),
) -> nn.Module:
    """Build the backbone of a resolved reference with fresh weights.

    It takes its inputs in order and returns the logits of the final exit: the last of the outputs called `outputs`, or
    without names the one that `extract_logits` finds.
    """
    model = build_raw(backbone, inputs, classes, config)
    return keep_logits(model, outputs) if ":" in backbone else model


def build_raw(
    backbone: str, inputs: tuple[Input, ...], classes: int, config: dict[str, Any] | None = None
) -> nn.Module:
    """Build the backbone of a resolved reference, which returns whatever its author returns."""
    scheme, colon, name = backbone.partition(":")
    shape = (1, *(int(size) for size in inputs[0].shape[1:]))
    if not colon:
        return build_backbone(backbone, inputs[0].shape, classes, config)
    if scheme == "hf":
        return hf.build(name, inputs, classes, config or {})
    if scheme == "timm":
        return libraries.build_timm(name, shape, classes)
    if scheme == "torchvision":
        return libraries.build_torchvision(name, shape, classes)
    return factory.build(backbone, config or {})


def keep_logits(model: nn.Module, outputs: Sequence[str]) -> nn.Module:
    """Let `model` return the logits of its final exit, the last of `outputs`."""

    def keep(module: nn.Module, arguments: Any, output: Any) -> Any:
        logits = find_output(output, outputs[-1]) if outputs else extract_logits(output)
        return output if logits is None else as_float32(logits, module)

    model.register_forward_hook(keep)
    return model


def check_backbone(backbone: nn.Module, reference: ModelReference) -> None:
    """Run the backbone once on a batch of 2.

    Raises:
        UsageError: it does not take its inputs, or does not return logits (N, classes).
    """
    logits = first_run(backbone, reference.inputs, example_inputs(reference.inputs, 2), reference.backbone)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, reference.classes):
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        expected = f"logits of shape (2, {reference.classes})"
        raise UsageError(
            f"{reference.backbone} gives {given} for a batch of 2, not {expected}",
            "Its last layer must have one output for each class.",
        )
