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


def check_side_file_sizes(path: Path) -> None:
    """Raise ArtefactError where a file beside the ONNX file at `path` is missing or cut off, and of no other damage."""
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # types of onnx and protobuf, for a file that is no ONNX file
        return
    require_side_files(path)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            check_side_file_size(tensor, path)


def check_side_file_size(tensor: Any, path: Path) -> None:
    """Raise ArtefactError where the file that an `onnx.TensorProto` of the file `path` lies in ends before it does."""
    import onnx

    try:
        place = onnx.external_data_helper.ExternalDataInfo(tensor)
        end = (place.offset or 0) + (place.length or 0)
        size = (path.parent / place.location).stat().st_size
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: the values of {tensor.name!r} cannot be read: {error}") from None
    if end > size:
        reason = f"its weights lie in {place.location!r}, which ends at byte {size} of {end} or more"
        raise ArtefactError(f"{path}: {reason}", f"Copy {place.location} into the folder of {path.name} again.")


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
