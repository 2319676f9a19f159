"""Pieces to ONNX files that old runtimes load: opset 18, IR version 8, one file, the same bytes."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxsim
import torch
from torch import Tensor

from eetool.errors import ArtefactError, VerificationError
from eetool.export.split import MAX_BATCH, ComponentModule, Size, batch_multiple
from eetool.export.suppress_output import suppress_output
from eetool.graphs.onnx_normalize import OPSET, normalize_onnx

_NO_SIMPLIFY = "Export with --no-simplify."


def export_onnx(piece: ComponentModule, inputs: Sequence[Tensor], path: Path, simplify: bool = True) -> None:
    """Write a component as one ONNX file; arguments and errors are those of `to_onnx`."""
    model = to_onnx(piece, inputs, simplify)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def to_onnx(piece: ComponentModule, inputs: Sequence[Tensor], simplify: bool = True) -> onnx.ModelProto:
    """A component as an ONNX model that holds nothing of this machine.

    Its batch size is dynamic where it is a symbol in `piece.shapes`; every other size is fixed.

    Args:
        inputs: what the component reads: at batch 2, or at its own size where that is fixed.

    Raises:
        ArtefactError: an operator has no ONNX form, or the graph cannot be simplified.
        VerificationError: the batch dimension came out fixed, or a fixed one did not.
    """
    model = _convert(piece, tuple(inputs))
    if simplify:
        model = _simplify(model, piece.name)
    normalize_onnx(model)
    _check_batch(model, piece)
    return model


def _convert(piece: ComponentModule, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    try:
        with suppress_output(), _one_registry():
            program = torch.onnx.export(
                piece.module,
                inputs,
                None,
                dynamo=True,
                dynamic_shapes=_dynamic_shapes(piece),
                input_names=list(piece.inputs),
                output_names=list(piece.outputs),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever went wrong in types of its own
        raise ArtefactError(f"torch.onnx.export failed: {_reason(error)}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


@contextmanager
def _one_registry() -> Iterator[None]:
    """Let all conversions of the process share one table of operators.

    torch.onnx.export builds it anew in every call, which takes more than a second, and has no way to be given one.
    The class is private to torch: where a later version keeps it elsewhere, only the time is lost.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        yield
        return
    original = ONNXRegistry.__dict__.get("from_torchlib")
    if not isinstance(original, classmethod):
        yield
        return
    cached = functools.partial(_registry, original.__func__, ONNXRegistry)
    ONNXRegistry.from_torchlib = staticmethod(cached)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = original  # type: ignore[method-assign, assignment]


@functools.cache
def _registry(build: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return build(*arguments, **options)


def _dynamic_shapes(piece: ComponentModule) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)

    def dimensions(shape: Sequence[Size]) -> dict[int, Any]:
        factors = {i: batch_multiple(size) for i, size in enumerate(shape) if not isinstance(size, int)}
        return {i: batch if factor == 1 else factor * batch for i, factor in factors.items()}

    return tuple(dimensions(piece.shapes[name]) for name in piece.inputs)


def _simplify(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    simplified: onnx.ModelProto
    try:
        simplified, same = onnxsim.simplify(model)
    except Exception as error:  # onnxsim lets the errors of the onnx checker and of onnxruntime through
        raise ArtefactError(f"{name}: onnxsim failed: {_reason(error)}", _NO_SIMPLIFY) from error
    if not same:
        raise ArtefactError(f"{name}: onnxsim changed what the graph computes", _NO_SIMPLIFY)
    return simplified


def _check_batch(model: onnx.ModelProto, piece: ComponentModule) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for size, found in zip(piece.shapes[value.name], value.type.tensor_type.shape.dim, strict=True):
            if isinstance(size, int) != (found.WhichOneof("value") == "dim_value"):
                raise VerificationError(f"{piece.name}: the shape of {value.name!r} came out with another batch size")


def _reason(error: BaseException) -> str:
    """First line of the innermost cause, which is the one that names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
