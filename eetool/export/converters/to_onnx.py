"""Conversion of components to ONNX files that old runtimes load: opset 18, IR version 8, deterministic bytes."""

import functools
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
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


def export_onnx(component: ComponentModule, inputs: Sequence[Tensor], path: Path, simplify: bool = True) -> None:
    """Write a component as one ONNX file; arguments and errors are those of `to_onnx`."""
    model = to_onnx(component, inputs, simplify)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def to_onnx(component: ComponentModule, inputs: Sequence[Tensor], simplify: bool = True) -> onnx.ModelProto:
    """Convert a component to an ONNX model without any trace of this machine.

    The batch size is dynamic where it is a symbol in `component.shapes`; every other size is fixed.

    Args:
        component: a component.
        inputs: example inputs at batch 2, or at their own size where that is fixed.
        simplify: run onnxsim over the graph.

    Raises:
        ArtefactError: an operator has no ONNX form, or the graph cannot be simplified.
        VerificationError: the batch dimension of the result is fixed, or a fixed dimension is not.
    """
    model = _convert(component, tuple(inputs))
    if simplify:
        model = _simplify(model, component.name)
    normalize_onnx(model)
    _check_batch(model, component)
    return model


def _convert(component: ComponentModule, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    try:
        with suppress_output(), _one_registry(), _quick_decomposition():
            program = torch.onnx.export(
                component.module,
                inputs,
                None,
                dynamo=True,
                dynamic_shapes=_dynamic_shapes(component),
                input_names=list(component.inputs),
                output_names=list(component.outputs),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps every error in types of its own
        raise ArtefactError(f"torch.onnx.export failed: {_reason(error)}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


@contextmanager
def _one_registry() -> Iterator[None]:
    """Share one table of operators between all conversions of the process.

    torch.onnx.export builds the table in every call, which takes more than a second, and accepts none as an argument.
    The class is private to torch. Where a later version moves it, only the time is lost.
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


@contextmanager
def _quick_decomposition() -> Iterator[None]:
    """Leave out what run_decompositions repeats in every conversion; the names are private to torch, as above.

    It lists the composite operators more than fifty times, since Python code may register others; none does meanwhile.
    For each it defines functions whose annotations `typing` remembers, and `collections.abc` makes anew.
    """
    from torch._export import utils

    listing = "_materialize_cpp_cia_ops"
    with ExitStack() as stack:
        if hasattr(utils, listing):
            stack.enter_context(_replaced(utils, listing, functools.cache(getattr(utils, listing))))
        if hasattr(torch._ops, "Callable"):
            stack.enter_context(_replaced(torch._ops, "Callable", typing.Callable))
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _dynamic_shapes(component: ComponentModule) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)

    def dimensions(shape: Sequence[Size]) -> dict[int, Any]:
        factors = {i: batch_multiple(size) for i, size in enumerate(shape) if not isinstance(size, int)}
        return {i: batch if factor == 1 else factor * batch for i, factor in factors.items()}

    return tuple(dimensions(component.shapes[name]) for name in component.inputs)


def _simplify(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    simplified: onnx.ModelProto
    try:
        simplified, same = onnxsim.simplify(model)
    except Exception as error:  # onnxsim raises errors of the onnx checker and of onnxruntime
        raise ArtefactError(f"{name}: onnxsim failed: {_reason(error)}", _NO_SIMPLIFY) from error
    if not same:
        raise ArtefactError(f"{name}: onnxsim changed what the graph computes", _NO_SIMPLIFY)
    return simplified


def _check_batch(model: onnx.ModelProto, component: ComponentModule) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for size, dimension in zip(component.shapes[value.name], value.type.tensor_type.shape.dim, strict=True):
            if isinstance(size, int) != (dimension.WhichOneof("value") == "dim_value"):
                raise VerificationError(
                    f"{component.name}: the shape of {value.name!r} came out with another batch size"
                )


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost cause, which names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
