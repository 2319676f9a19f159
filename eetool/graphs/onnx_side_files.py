"""Tensors of ONNX files that lie in files beside them, as torch's exporter writes them, and invalid weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eetool.errors import ArtefactError
from eetool_runtime.backends.side_files import check_onnx_side_files
from eetool_runtime.errors import BackendError


def require_side_files(path: Path) -> None:
    """Raise ArtefactError unless every file that tensors of an ONNX file lie in is a plain file in its folder."""
    try:
        check_onnx_side_files(path)
    except BackendError as error:
        raise ArtefactError(error.message, error.hint) from None


def load_external_data(tensor: Any, path: Path) -> None:
    """Read the values of an `onnx.TensorProto` of the file `path` into it.

    Raises:
        ArtefactError: its file is shorter than the tensor.
    """
    import onnx

    try:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except Exception as error:  # types of onnx
        raise ArtefactError(f"{path}: the values of {tensor.name!r} cannot be read: {error}") from None


def invalid_weights(path: Path) -> list[str]:
    """Return a line for each weight of an ONNX file with values that are NaN or infinite.

    Raises:
        ArtefactError: the file or one beside it cannot be read.
    """
    return [f"{name}: {count} of {size} values are not finite" for name, count, size in _invalid(path)]


def _invalid(path: Path) -> Iterator[tuple[str, int, int]]:
    import onnx

    require_side_files(path)
    try:
        model = onnx.load(str(path))
        arrays = [(x.name, onnx.numpy_helper.to_array(x, str(path.parent))) for x in model.graph.initializer]
    except Exception as error:  # types of onnx and protobuf
        raise ArtefactError(f"{path}: cannot be read as an ONNX file: {error}") from None
    for name, array in arrays:
        count = int((~np.isfinite(array.astype(np.float64))).sum()) if array.dtype.kind not in "biuSUO" else 0
        if count:
            yield name, count, array.size
