"""Pieces and whole networks to ONNX files that old runtimes load: opset 18, IR version 8, one file, the same bytes."""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import onnx
import onnxsim
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, VerificationError

OPSET = 18  # with IR version 8 this loads on onnxruntime 1.14 and newer
IR_VERSION = 8
_NO_SIMPLIFY = "Export with --no-simplify."


def export_onnx(
    module: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    path: Path,
    simplify: bool = True,
) -> None:
    """Write `module` as one ONNX file, with a dynamic first dimension in every input that is not a scalar.

    Raises as `to_onnx` does.
    """
    model = to_onnx(module, inputs, input_names, output_names, path.parent.parent.name, simplify)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def to_onnx(
    module: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    name: str,
    simplify: bool = True,
    batched: bool = True,
) -> onnx.ModelProto:
    """`module` as an ONNX model that holds nothing of this machine; `name` is for messages.

    With `batched`, the first dimension of every input that is not a scalar is dynamic, and `inputs` must have batch 2;
    without it, every size is that of `inputs`.

    Raises:
        ArtefactError: an operator has no ONNX form, or the graph cannot be simplified.
        VerificationError: the batch dimension came out fixed.
    """
    model = _convert(module, tuple(inputs), list(input_names), list(output_names), batched)
    if simplify:
        model = _simplify(model, name)
    _plain(model)
    if batched:
        _check_batch(model, name)
    return model


def _convert(
    module: nn.Module, inputs: tuple[Tensor, ...], input_names: list[str], output_names: list[str], batched: bool
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=1024)
    dynamic = tuple({0: batch} if x.ndim else {} for x in inputs) if batched else None
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                inputs,
                None,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=input_names,
                output_names=output_names,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever went wrong in types of its own
        raise ArtefactError(f"torch.onnx.export failed: {_reason(error)}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _simplify(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    simplified: onnx.ModelProto
    try:
        simplified, same = onnxsim.simplify(model)
    except Exception as error:  # onnxsim lets the errors of the onnx checker and of onnxruntime through
        raise ArtefactError(f"{name}: onnxsim failed: {_reason(error)}", _NO_SIMPLIFY) from error
    if not same:
        raise ArtefactError(f"{name}: onnxsim changed what the graph computes", _NO_SIMPLIFY)
    return simplified


def _plain(model: onnx.ModelProto) -> None:
    """Strip what depends on this machine or keeps old runtimes from loading the file."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "eetool", "", ""
    del model.metadata_props[:]
    used = {node.domain for node in model.graph.node}
    for unused in [o for o in model.opset_import if o.domain not in used and o.domain != ""]:
        model.opset_import.remove(unused)
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    versions = {o.version for o in model.opset_import if o.domain == ""}
    if versions != {OPSET}:
        raise ArtefactError(f"torch.onnx.export gave opset {sorted(versions)} where {OPSET} was asked for")


def _check_batch(model: onnx.ModelProto, name: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape.dim
        if shape and not shape[0].dim_param:
            raise VerificationError(f"{name}: the batch dimension of {value.name!r} came out fixed")


def _reason(error: BaseException) -> str:
    """First line of the innermost cause, which is the one that names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks to stdout, to loggers and through warnings about its own internals."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
