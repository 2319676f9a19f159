"""Signature of a TFLite file: names, types and quantisation of its inputs and outputs, read without an engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Optional

import numpy as np

from .flatbuffer import Flatbuffer, FlatbufferTable
from .manifest import Tensor
from .records import dataclass

# Field indices in the schema of TFLite.
_SUBGRAPHS, _SIGNATURES = 2, 7  # of a model
_TENSORS, _INPUTS, _OUTPUTS = 0, 1, 2  # of a subgraph
_SHAPE, _TYPE, _QUANTIZATION = 0, 1, 4  # of a tensor
_SCALE, _ZERO_POINT = 2, 3  # of a quantisation
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SUBGRAPH = 0, 1, 4  # of a signature
_NAME, _TENSOR = 0, 1  # of an entry of a signature
_DTYPES = {0: "float32", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 9: "int8"}
_HEADER = b"TFL3"
_INT8 = np.iinfo(np.int8)


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation to int8: real = scale · (integer − zero_point), Jacob et al. 2018 (arXiv 1712.05877)."""

    scale: float
    zero_point: int

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Return float32 values as int8 of the same shape; halves are rounded away from zero, as TFLite does."""
        steps = values / np.float32(self.scale)
        rounded = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps) + np.float32(self.zero_point)
        integers: np.ndarray = np.clip(rounded, _INT8.min, _INT8.max).astype(np.int8)
        return integers

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """Return int8 values as float32 of the same shape."""
        values: np.ndarray = (integers.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)
        return values


@dataclass(frozen=True)
class SignatureTensor:
    """An input or output of a file.

    Attributes:
        position: among the graph's inputs or outputs.
        tensor: dtype and shape.
        quantization: of an int8 tensor; None elsewhere.
    """

    position: int
    tensor: Tensor
    quantization: Optional[Quantization]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a file by name."""

    inputs: dict[str, SignatureTensor]
    outputs: dict[str, SignatureTensor]


def read_signature(data: bytes) -> Signature:
    """Return the one signature of a TFLite file.

    Args:
        data: bytes of the file.

    Raises:
        ValueError: it is no TFLite file, has not exactly one signature, which is that of its first graph, or a tensor
            has another type than those of a bundle, or an int8 tensor not one scale.
    """
    if data[4:8] != _HEADER:
        raise ValueError("it has no TFLite header")
    model = Flatbuffer(data).root()
    signatures, graphs = list(model.tables(_SIGNATURES)), list(model.tables(_SUBGRAPHS))
    if len(signatures) != 1 or not graphs or signatures[0].uint32(_SUBGRAPH) != 0:
        raise ValueError(f"it has {len(signatures)} signatures; one, of its first graph, is needed")
    tensors, graph = list(graphs[0].tables(_TENSORS)), graphs[0]
    return Signature(
        _named(signatures[0], _SIGNATURE_INPUTS, tensors, graph.int32s(_INPUTS)),
        _named(signatures[0], _SIGNATURE_OUTPUTS, tensors, graph.int32s(_OUTPUTS)),
    )


def _named(
    signature: FlatbufferTable, side: int, tensors: list[FlatbufferTable], places: tuple[int, ...]
) -> dict[str, SignatureTensor]:
    named: dict[str, SignatureTensor] = {}
    for entry in signature.tables(side):
        name, index = entry.text(_NAME), entry.uint32(_TENSOR)
        if name in named or index not in places or index >= len(tensors):
            raise ValueError(f"its signature does not fit its graph at {name!r}")
        named[name] = _tensor(tensors[index], name, places.index(index))
    if len(named) != len(places):
        raise ValueError("its signature does not name every input and output")
    return named


def _tensor(table: FlatbufferTable, name: str, position: int) -> SignatureTensor:
    dtype = _DTYPES.get(table.uint8(_TYPE))
    if dtype is None:
        raise ValueError(f"{name!r} has the unknown type {table.uint8(_TYPE)}")
    quantization = _quantization(table.table(_QUANTIZATION), name) if dtype == "int8" else None
    return SignatureTensor(position, Tensor(dtype, table.int32s(_SHAPE)), quantization)


def _quantization(table: Optional[FlatbufferTable], name: str) -> Quantization:
    scales, zero_points = ((), ()) if table is None else (table.float32s(_SCALE), table.int64s(_ZERO_POINT))
    if len(scales) != 1 or len(zero_points) != 1:
        raise ValueError(f"{name!r} is int8 and has {len(scales)} scales; one is needed")
    scale, zero_point = scales[0], zero_points[0]
    if not (math.isfinite(scale) and scale > 0 and _INT8.min <= zero_point <= _INT8.max):
        raise ValueError(f"{name!r} has the scale {scale} and the zero point {zero_point}")
    return Quantization(scale, zero_point)


def declared_types(tensors: Mapping[str, SignatureTensor]) -> dict[str, Tensor]:
    """Return the types of tensors as numbers with a meaning: quantised ones are float32."""
    return {
        name: stored.tensor if stored.quantization is None else Tensor("float32", stored.tensor.shape)
        for name, stored in tensors.items()
    }
