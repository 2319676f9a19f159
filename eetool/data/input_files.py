"""Input files of `run`: images, arrays and texts."""

from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.file_notes import FileNotes
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.image_files import check_range, read_image
from eetool.data.readers.numpy_arrays import read_npy
from eetool.data.text_lines import read_text_lines
from eetool.errors import ArtefactError
from eetool.progress import SILENT, Progress
from eetool.records import open_regular
from eetool_runtime import Model
from eetool_runtime.errors import InputError
from eetool_runtime.image_files import GREY, MODES, RGB, fit_image
from eetool_runtime.manifest import Input, Resize
from eetool_runtime.preprocess import are_views, normalise

_ARCHIVE = b"PK"  # first bytes of a zip file
_ROUNDING = 1e-3  # of finished inputs that another program normalised


def read_inputs(path: Path, model: Model, progress: Progress = SILENT, notes: FileNotes | None = None) -> list[Any]:
    """Read model inputs at batch 1 from one file: arrays, or by name where they are views of one picture.

    An image is read as `folder:` reads it, converted to the model's channels and size, then preprocessed. An `.npy`
    holds one input or a batch: uint8 (…, C, H, W) is preprocessed, any other dtype is used unchanged and checked by
    the model. A `.txt` holds one text per line.

    Args:
        path: file.
        model: model that takes the inputs.
        progress: receives notes about texts.
        notes: receives what was converted or looks wrong in images.

    Raises:
        ArtefactError: the file is missing, is no image or array, or holds an array of another shape.
    """
    specs = model.bundle.manifest.inputs
    if are_views(specs):
        return [_views(path, model)]
    spec = specs[0]
    if path.suffix.lower() == ".npy":
        return _array(path, spec)
    if path.suffix.lower() == ".txt":
        return read_text_lines(path, model, progress)
    return [model.preprocess(_image(path, spec, notes or FileNotes()))]


def _views(path: Path, model: Model) -> Any:
    """Return the views of an image file, which the runtime makes as they are needed."""
    try:
        return model.preprocess(path)
    except InputError as error:
        hint = "This model reads every picture in several sizes: give image files."
        raise ArtefactError(f"{path}: {error.message}", error.hint or hint) from None


def _array(path: Path, spec: Input) -> list[np.ndarray]:
    try:
        with open_regular(path) as file:
            if file.peek(len(_ARCHIVE)).startswith(_ARCHIVE):
                raise ValueError("an archive, not one array")
            array = read_npy(file)
    except Exception as error:  # numpy raises many unrelated types for a damaged header
        hint = "Give an array of numpy.save."
        raise ArtefactError(f"{path}: not a readable .npy file: {error_reason(error)}", hint) from None
    given = array
    if array.ndim == len(spec.shape) - 1:
        array = array[None]  # one input without a batch dimension -> (1, …)
    if array.ndim != len(spec.shape) or array.shape[1:] != spec.shape[1:] or len(array) == 0:
        expected = ", ".join(str(size) for size in spec.shape)
        raise ArtefactError(
            f"{path}: expected shape ({expected}) for input {spec.name!r}, found {given.shape}",
            _transposition(given, spec),
        )
    if array.dtype == np.uint8 and spec.dtype != "uint8" and spec.preprocess is not None:
        array = normalise(array, spec)
    elif array.dtype != spec.dtype:
        pixels = " It is for normalised inputs; pixels are stored as uint8." if spec.preprocess is not None else ""
        raise ArtefactError(
            f"{path}: expected {spec.dtype}, found {array.dtype}", f"Store array.astype(np.{spec.dtype}).{pixels}"
        )
    else:
        _check_normalised(path, array, spec)
    return [array[i : i + 1] for i in range(len(array))]


def _transposition(array: np.ndarray, spec: Input) -> str | None:
    """Return the hint for images whose channels are last, in a batch or alone."""
    if len(spec.shape) != 4 or array.ndim not in (3, 4) or (array.shape[-1], *array.shape[-3:-1]) != spec.shape[1:]:
        return None
    return f"Channels come first: store array.transpose({'0, 3, 1, 2' if array.ndim == 4 else '2, 0, 1'})."


def _check_normalised(path: Path, array: np.ndarray, spec: Input) -> None:
    """Raise ArtefactError where finished values are none that the model's normalisation gives for any pixel."""
    if spec.preprocess is None or array.dtype.kind != "f" or not np.isfinite(array).all():
        return  # the model refuses NaN and infinity
    darkest, brightest = (normalise(np.full((1, len(spec.preprocess.mean), 1, 1), v, np.uint8), spec) for v in (0, 255))
    room = _ROUNDING * (brightest - darkest)
    if ((array < darkest - room) | (array > brightest + room)).any():
        raise ArtefactError(
            f"{path}: values from {array.min():g} to {array.max():g}, where pixels of this model are normalised to "
            f"{darkest.min():g} to {brightest.max():g}",
            "Give uint8 pixels, which are normalised here, or normalise as the manifest of the bundle says.",
        )


def _image(path: Path, spec: Input, notes: FileNotes) -> np.ndarray:
    """Read an image as uint8 (H, W) or (H, W, 3) of the model's size."""
    if spec.preprocess is None or len(spec.shape) != 4:
        raise ArtefactError(f"{path}: this model has no preprocessing for images", "Give an .npy file.")
    _, channels, height, width = spec.shape
    if channels not in MODES:
        raise ArtefactError(
            f"{path}: this model takes {channels} channels, an image file has 1 or 3", "Give an .npy file."
        )
    pixels = read_image(path, notes)
    check_range([pixels.peak], path)
    image, mode = pixels.image, MODES[channels]
    if image.mode == RGB and mode == GREY:
        notes.add("colour was converted to grey, which is what the model takes", path)
    if image.size != (width, height):
        rule, before = spec.preprocess.resize or Resize(), "×".join(map(str, image.size))
        unknown = "" if spec.preprocess.resize else ": a guess, because the bundle has no rule of resizing"
        notes.add(f"resized to {width}×{height} ({rule.fit}{unknown})", path, before)
        image = fit_image(image, int(height), int(width), rule.fit)
    return np.asarray(image.convert(mode))
