"""Input files of `run`: images, arrays and texts."""

from pathlib import Path

import numpy as np

from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.image_files import convert_mode, open_image
from eetool.data.readers.numpy_arrays import read_npy
from eetool.data.text_lines import read_text_lines
from eetool.errors import ArtefactError
from eetool.progress import SILENT, Progress
from eetool.records import open_regular
from eetool_runtime import Model
from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import normalise

_ARCHIVE = b"PK"  # first bytes of a zip file


def read_inputs(path: Path, model: Model, progress: Progress = SILENT) -> list[np.ndarray]:
    """Read model inputs at batch 1 from one file.

    An image is converted to the model's channels and size, then preprocessed. An `.npy` holds one input or a batch:
    uint8 (…, C, H, W) is preprocessed, any other dtype is used unchanged and checked by the model. A `.txt` holds one
    text per line; `progress` receives notes about these.

    Raises:
        ArtefactError: the file is missing, is no image or array, or holds an array of another shape.
    """
    spec = model.bundle.manifest.inputs[0]
    if path.suffix.lower() == ".npy":
        return _array(path, spec)
    if path.suffix.lower() == ".txt":
        return read_text_lines(path, model, progress)
    return [model.preprocess(_image(path, spec))]


def _array(path: Path, spec: Input) -> list[np.ndarray]:
    try:
        with open_regular(path) as file:
            if file.peek(len(_ARCHIVE)).startswith(_ARCHIVE):
                raise ValueError("an archive, not one array")
            array = read_npy(file)
    except Exception as error:  # numpy raises many unrelated types for a damaged header
        hint = "Give an array of numpy.save."
        raise ArtefactError(f"{path}: not a readable .npy file: {error_reason(error)}", hint) from None
    shape = array.shape
    if array.ndim == len(spec.shape) - 1:
        array = array[None]  # one input without a batch dimension -> (1, …)
    if array.ndim != len(spec.shape) or array.shape[1:] != spec.shape[1:] or len(array) == 0:
        expected = ", ".join(str(size) for size in spec.shape)
        raise ArtefactError(f"{path}: expected shape ({expected}) for input {spec.name!r}, found {shape}")
    if array.dtype == np.uint8 and spec.dtype != "uint8":
        array = normalise(array, spec)
    return [array[i : i + 1] for i in range(len(array))]


def _image(path: Path, spec: Input) -> np.ndarray:
    """Read an image as uint8 (H, W) or (H, W, 3) of the model's size."""
    if spec.preprocess is None or len(spec.shape) != 4:
        raise ArtefactError(f"{path}: this model has no preprocessing for images", "Give an .npy file.")
    _, channels, height, width = spec.shape
    image = convert_mode(open_image(path), "L" if channels == 1 else "RGB", path)
    return np.asarray(image.resize((int(width), int(height))))
