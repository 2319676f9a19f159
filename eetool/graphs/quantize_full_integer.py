"""Quantisation of a TFLite file to int8 in every tensor, inputs and outputs too, for microcontrollers.

An input that another component makes, or reads as well, takes over scale and zero point from there, bit by bit: a
tensor that crosses a boundary is then never converted. Runs in the child process of `eetool.graphs.quantize`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eetool.graphs.calibration_feeds import Feeds
from eetool.graphs.tflite_combine import aligned_builder, take_in_weights
from eetool.graphs.tflite_cut import drop_unused_buffers
from eetool.graphs.tflite_graph import schema
from eetool.graphs.tflite_ranges import tflite_ranges
from eetool.graphs.tflm_operators import INT8_OPERATORS
from eetool_runtime.tflite_signature import Quantization, read_signature

_BITS = 8
_OTHER_NAMES = {"CONV_2D_TRANSPOSE": "TRANSPOSE_CONV"}  # in the quantiser, and in the schema
_LOWEST, _HIGHEST = -128, 127
# Scales that come from the same range by another order of operations differ by less.
_SAME_SCALE = 1e-5


def quantize_full_integer(source: Path, target: Path, feeds: Feeds, earlier: Mapping[str, str]) -> None:
    """Quantise weights, activations, inputs and outputs.

    Operators without an int8 kernel in TFLM stay float, between a DEQUANTIZE and a QUANTIZE.

    Args:
        source: file of the float graph.
        target: file to write.
        feeds: calibration inputs.
        earlier: files by the names of inputs, each of which has a tensor of that name.

    Raises:
        ValueError: an input cannot take over its scale, since an operator that reads it demands another one.
    """
    from ai_edge_quantizer import quantizer, recipe

    given = {name: stored_quantization(Path(path), name) for name, path in earlier.items()}
    tflite_quantizer = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    names = recipe.TFLOperationName
    granularity = recipe.QuantGranularity.TENSORWISE  # Kernels for one scale per channel are not in every release.
    tflite_quantizer.add_static_config(".*", names.FULLY_CONNECTED, _BITS, _BITS, granularity)
    for operation in names:
        operator = _OTHER_NAMES.get(operation.value, operation.value)
        if operator not in INT8_OPERATORS and operation not in (names.ALL_SUPPORTED, names.INPUT, names.OUTPUT):
            tflite_quantizer.update_quantization_recipe(".*", operation, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    ranges = tflite_ranges(source, tflite_quantizer.get_quantization_recipe(), feeds)
    tensor_names = _tensor_names(source)
    for name, quantization in given.items():
        ranges[tensor_names[name]] = _range_of(quantization)
    result = tflite_quantizer.quantize(ranges, enable_progress_report=False)
    target.write_bytes(_finished(bytes(result.quantized_model), target, given))


def stored_quantization(path: Path, name: str) -> Quantization:
    """Return scale and zero point of an input or output of a file; raises ValueError where it is not int8."""
    signature = read_signature(path.read_bytes())
    stored = {**signature.inputs, **signature.outputs}[name]
    if stored.quantization is None:
        raise ValueError(f"{name} is {stored.tensor.dtype} and not int8")
    return stored.quantization


def _tensor_names(path: Path) -> dict[str, str]:
    """Return the names of the tensors inside the file by the names of the signature's inputs."""
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(path.read_bytes()))
    tensors = model.subgraphs[0].tensors
    return {entry.name.decode(): tensors[entry.tensorIndex].name.decode() for entry in model.signatureDefs[0].inputs}


def _range_of(quantization: Quantization) -> dict[str, np.ndarray]:
    low, high = (np.float32((limit - quantization.zero_point) * quantization.scale) for limit in (_LOWEST, _HIGHEST))
    return {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}


def _finished(data: bytes, path: Path, given: Mapping[str, Quantization]) -> bytes:
    """Return the file with the given quantisation of inputs, all weights inside, and no names that a device stores."""
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(data))
    take_in_weights(model, data, path)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for number, tensor in enumerate(graph.tensors):
        tensor.name = str(number)
    for entry in signature.inputs:
        name = entry.name.decode()
        if name in given:
            _take_over(graph.tensors[entry.tensorIndex].quantization, given[name], name)
    model.metadata, model.metadataBuffer, model.description, graph.name = None, None, None, None
    drop_unused_buffers(model)
    builder = aligned_builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _take_over(own: Any, given: Quantization, name: str) -> None:
    scale, zero_point = float(own.scale[0]), int(own.zeroPoint[0])
    if zero_point != given.zero_point or abs(scale - given.scale) > _SAME_SCALE * given.scale:
        raise ValueError(
            f"{name} has the scale {given.scale:.6g} where it is made, and an operator that reads it needs {scale:.6g}"
        )
    own.scale, own.zeroPoint = np.array([given.scale], np.float32), np.array([given.zero_point], np.int64)
