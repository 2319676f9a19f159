"""Models of a repository NAME/1/model.onnx in ONNX Runtime, for servers that run Python."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True)
class TensorType:
    """Name, numpy type and shape of an input or output; -1 is any size."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]


class OnnxModel:
    """An opened model."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [_tensor_type(i) for i in self._session.get_inputs()]
        self.outputs = [_tensor_type(o) for o in self._session.get_outputs()]

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self.outputs]
        return dict(zip(names, self._session.run(names, dict(arrays)), strict=True))


def open_models(repository: Path) -> Iterator[tuple[str, OnnxModel]]:
    """Yield name and model of every folder of the repository."""
    for path in sorted(repository.glob("*/1/model.onnx")):
        yield path.parents[1].name, OnnxModel(path)


def _tensor_type(value: "onnxruntime.NodeArg") -> TensorType:
    return TensorType(value.name, _DTYPES[value.type], tuple(s if isinstance(s, int) else -1 for s in value.shape))
