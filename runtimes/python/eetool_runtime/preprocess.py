"""Conversion of raw inputs to model inputs, and checks of input arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, Union

import numpy as np

from .argument_checks import short_repr
from .errors import BackendError, InputError, NotFiniteError
from .manifest import Input, Text, describe_tensor
from .views import View

Raw = Union[np.ndarray, Sequence[Any], str, bytes, bytearray, "PathLike[str]"]

PADDING, UNKNOWN, START = 0, 1, 2
SPECIAL = 3  # number of ids before the first word

_SMALL = 8192  # elements; a product of larger arrays would wake the threads of BLAS
_LUMA = np.array([19595, 38470, 7471], np.int32)  # of 65536: red, green, blue
# The vocabulary of the last text, and the ids of its words: they take a hundred times as long as a text.
_latest: tuple[tuple[str, ...], dict[str, int]] = ((), {})


def preprocess_all(raw: Union[Raw, Mapping[str, Raw]], specs: Sequence[Input]) -> Any:
    """Return model inputs at batch 1, by name where `raw` is a mapping; raises InputError.

    One picture is enough for inputs that are all views of it: they are returned by name, the first as an array, and
    others as a `View`, which is made when it is needed.
    """
    if not isinstance(raw, Mapping) and are_views(specs):
        return _views(raw, specs)
    named = name_inputs(raw, specs)
    inputs = {s.name: preprocess(named[s.name], s) for s in specs}
    return inputs if isinstance(raw, Mapping) else inputs[specs[0].name]


def are_views(specs: Sequence[Input]) -> bool:
    """Return whether a model has several inputs, all of which are views of one picture."""
    return len(specs) > 1 and specs[0].picture is not None and len({s.picture for s in specs}) == 1


def _views(raw: Raw, specs: Sequence[Input]) -> dict[str, Union[np.ndarray, View]]:
    """Return the views of one picture by input name; the picture is decoded once."""
    picture = _read_photo(raw) if isinstance(raw, (str, bytes, bytearray, PathLike)) else _as_array(raw, specs[0])
    views = [View(s, partial(_view, picture, s)) for s in specs]
    return {specs[0].name: views[0].array(), **{v.spec.name: v for v in views[1:]}}


def _view(picture: Any, spec: Input) -> np.ndarray:
    is_array = isinstance(picture, np.ndarray)
    pixels = picture_pixels(picture, spec) if is_array else _photo_pixels(picture, spec)
    return _normalised_picture(pixels, spec)


def _normalised_picture(pixels: np.ndarray, spec: Input) -> np.ndarray:
    return normalise(pixels.transpose(2, 0, 1)[None], spec)  # (H, W, C) -> (1, C, H, W)


def name_inputs(given: Any, specs: Sequence[Input]) -> Mapping[str, Any]:
    """Return `given` as a mapping from input names; a single input may come without its name. Raises InputError."""
    names = [s.name for s in specs]
    if not isinstance(given, Mapping):
        if len(names) > 1:
            raise InputError(f"the model has {len(names)} inputs; give a dict with {names}")
        return {names[0]: given}
    if set(given) != set(names):
        actual = sorted(name if isinstance(name, str) else short_repr(name) for name in given)
        raise InputError(f"expected inputs {names}, found {actual}")
    return given


def preprocess(raw: Raw, spec: Input) -> np.ndarray:
    """Return one raw input as the model's input at batch 1.

    With image preprocessing, `raw` is uint8 (H, W) or (H, W, C), the path of an image file, or the bytes of one; the
    last two need the extra `eetool-runtime[image]`. Where the bundle has a rule of resizing, the picture may have any
    size, and be grey, RGB, or either with an opaque alpha channel. Otherwise it has exactly the size in `spec`. It
    becomes float32 (1, C, H, W) by `(raw * scale - mean) / std`, as in training. With a vocabulary, `raw` may be a
    text, which becomes token ids int64 (1, tokens). Otherwise `raw` is one finished input, with or without the batch
    dimension: an array of the right dtype, or a list of numbers that this dtype represents.

    Raises:
        InputError: `raw` has another dtype or shape, or is no image file that can be read; the message gives the
            expected one.
        BackendError: `raw` is an image file and Pillow is not installed.
    """
    if isinstance(raw, str) and spec.text is not None:
        return token_ids([raw], spec.text, int(spec.shape[1]))
    if spec.preprocess is None:
        return _finished_input(raw, spec)
    return _normalised_picture(picture_pixels(raw, spec), spec)


def picture_pixels(raw: Raw, spec: Input) -> np.ndarray:
    """Return a picture as pixels uint8 (H, W, C) of the model's size and channels. Raises as `preprocess`."""
    assert spec.preprocess is not None
    if isinstance(raw, (str, bytes, bytearray, PathLike)):
        return _photo_pixels(_read_photo(raw), spec)
    pixels = array = _as_array(raw, spec)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]  # (H, W) -> (H, W, 1)
    channels, *size = (int(n) for n in spec.shape[1:])
    if pixels.dtype == np.uint8 and pixels.shape == (*size, channels):
        return pixels
    if spec.preprocess.resize is None or not _is_picture(pixels, channels):
        expected = "any size" if spec.preprocess.resize is not None else f"({size[0]}, {size[1]}, {channels})"
        raise InputError(
            f"input {spec.name!r}: expected raw pixels uint8 {expected}, found {array.dtype} {array.shape}",
            _image_hint(pixels, spec),
        )
    from .resize import resize

    fitted = resize(_opaque(pixels, channels, spec), (size[0], size[1]), spec.preprocess.resize.fit)
    return _with_channels(fitted, channels)


def _read_photo(raw: Union[str, bytes, bytearray, PathLike[str]]) -> Any:
    """Return the image of a file, or of its bytes."""
    try:
        from .image_files import read_photo
    except ImportError:
        raise BackendError(
            "image files are read by Pillow, which is not installed",
            "pip install 'eetool-runtime[image]', or pass the pixels as an array.",
        ) from None
    return read_photo(raw)


def _photo_pixels(image: Any, spec: Input) -> np.ndarray:
    """Return an image of Pillow as pixels uint8 (H, W, C) of the model's size and channels."""
    from .image_files import MODES, fit_image

    assert spec.preprocess is not None
    channels, height, width = (int(n) for n in spec.shape[1:])
    if channels not in MODES:
        raise InputError(f"input {spec.name!r}: has {channels} channels, an image file has 1 or 3", "Pass an array.")
    rule = spec.preprocess.resize
    if rule is not None:
        image = fit_image(image, height, width, rule.fit)
    elif image.size != (width, height):
        found = f"{image.height} x {image.width}"
        raise InputError(
            f"input {spec.name!r}: expected an image of {height} x {width} pixels, found {found}", _size_hint(spec)
        )
    return np.asarray(image.convert(MODES[channels])).reshape(height, width, channels)


def _is_picture(pixels: np.ndarray, channels: int) -> bool:
    """Return whether `pixels` (H, W, C) can be brought to the size and the number of channels of a model."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or 0 in pixels.shape:
        return False
    return pixels.shape[2] in ((1, 2, 3, 4) if channels in (1, 3) else (channels,))


def _opaque(pixels: np.ndarray, channels: int, spec: Input) -> np.ndarray:
    """Return `pixels` without their alpha channel, where the model takes grey or RGB."""
    found = pixels.shape[2]
    if found not in (2, 4) or found == channels:
        return pixels
    if int(pixels[:, :, -1].min()) < 255:
        raise InputError(
            f"input {spec.name!r}: has transparent pixels, and nothing says what lies behind them",
            "Put it on the background that was there in training.",
        )
    return pixels[:, :, :-1]


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Return pixels (H, W, 1 or 3) in the number of channels of a model; grey is the luma of ITU-R BT.601."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found == 1:
        return np.repeat(pixels, channels, 2)
    luma = (pixels.astype(np.int32) @ _LUMA + (1 << 15)) >> 16  # as Pillow computes it
    return luma.astype(np.uint8)[:, :, None]


def token_ids(texts: Sequence[str], rule: Text, length: int) -> np.ndarray:
    """Return token ids int64 (n, length): a start token, the words, then padding.

    The id of a word is its index in the vocabulary + 3, or 1 where it is unknown. Longer texts are truncated.
    """
    from .word_segmentation import split_words  # models of images need none of it

    word_ids = _word_ids(rule.vocabulary)
    ids = np.full((len(texts), length), PADDING, np.int64)
    ids[:, 0] = START
    for row, text in zip(ids, texts):
        words = split_words(text, rule.segmentation)[: length - 1]
        row[1 : 1 + len(words)] = [word_ids.get(word, UNKNOWN) for word in words]
    return ids


def _word_ids(vocabulary: tuple[str, ...]) -> dict[str, int]:
    global _latest
    known, ids = _latest
    if known is not vocabulary:
        ids = {word: index + SPECIAL for index, word in enumerate(vocabulary)}
        _latest = vocabulary, ids
    return ids


def _image_hint(pixels: np.ndarray, spec: Input) -> str:
    """Return the hint for an image with a wrong dtype or shape."""
    channels, height, width = spec.shape[1:]
    if pixels.shape in ((channels, height, width), (1, channels, height, width)):
        return "Channels come last: raw.transpose(1, 2, 0). Pass finished inputs to model(x) directly."
    if pixels.ndim == 4:
        return "Give one image at a time; model.batch(xs) runs many inputs together."
    if pixels.dtype != np.uint8:
        return "Raw pixels are uint8, from 0 to 255. Pass normalised inputs to model(x) directly."
    if pixels.ndim == 3 and pixels.shape[2] != channels:
        return f"The model takes {channels} channels: convert grey, colour or transparency first."
    if 0 in pixels.shape:
        return "The image has no pixels."
    return _size_hint(spec)


def _size_hint(spec: Input) -> str:
    height, width = spec.shape[2:]
    return (
        f"This bundle has no rule of resizing: scale the image to {width} x {height} as in training, for example with "
        "Pillow."
    )


def _finished_input(raw: Raw, spec: Input) -> np.ndarray:
    """Return an array or list as the value of an input without preprocessing, at batch 1."""
    array = _as_array(raw, spec)
    if not isinstance(raw, np.ndarray):
        array = _convert(array, spec)
    if array.dtype != spec.dtype:
        raise InputError(
            f"input {spec.name!r}: the bundle holds no preprocessing; "
            f"give a finished {describe_tensor(spec)}, not {array.dtype}"
        )
    if array.ndim == len(spec.shape) - 1:
        array = array[None]  # one input without a batch dimension -> (1, ...)
    return check_array(array, spec)


def _as_array(raw: Raw, spec: Input) -> np.ndarray:
    """Return `raw` as an array; raises InputError where numpy cannot convert it."""
    try:
        return np.asarray(raw)
    except ValueError:
        kind = "lists of different lengths"
    except Exception as error:  # raised by the object itself
        kind = f"{type(raw).__name__} ({error})"
    raise InputError(f"input {spec.name!r}: expected {describe_tensor(spec)}, found {kind}")


def _convert(numbers: np.ndarray, spec: Input) -> np.ndarray:
    """Return Python's numbers in the dtype of `spec`; integers may become floats, other losses are refused."""
    dtype = np.dtype(spec.dtype)
    allowed = {"f": "iuf", "b": "b"}.get(dtype.kind, "iu")
    if numbers.dtype.kind in allowed:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            converted = numbers.astype(dtype)
        if dtype.kind == "f" or np.array_equal(converted, numbers):
            return converted
    raise InputError(f"input {spec.name!r}: expected {describe_tensor(spec)}, found {numbers.dtype} {numbers.shape}")


def normalise(pixels: np.ndarray, spec: Input) -> np.ndarray:
    """Return pixels uint8 (N, C, H, W) as float32 of the same shape, normalised by the rule of `spec`."""
    rule = spec.preprocess
    if rule is None:
        raise InputError(
            f"input {spec.name!r}: the bundle holds no preprocessing; give a finished {describe_tensor(spec)}"
        )
    mean = np.array(rule.mean, np.float32).reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
    std = np.array(rule.std, np.float32).reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
    return np.ascontiguousarray((pixels.astype(np.float32) * np.float32(rule.scale) - mean) / std)


def check_array(array: object, spec: Input, *, any_batch: bool = False) -> np.ndarray:
    """Return `array` if it matches `spec`, else raise InputError with the name and the expected type.

    A symbolic dimension matches any size, but the first must be 1 unless `any_batch`. NaN and infinity are refused,
    because they can lead to wrong predictions with high confidence.
    """
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"input {spec.name!r}: expected a numpy array {describe_tensor(spec)}, found {type(array).__name__}"
        )
    if array.dtype != spec.dtype:
        raise InputError(
            f"input {spec.name!r}: expected {spec.dtype}, found {array.dtype}",
            "model.preprocess(raw) converts uint8 pixels to the model's input." if array.dtype == np.uint8 else None,
        )
    if not _matches(array.shape, spec, any_batch):
        raise InputError(f"input {spec.name!r}: expected shape {describe_tensor(spec)}, found {array.shape}")
    if not is_finite(array):
        raise NotFiniteError(f"input {spec.name!r}: holds NaN or infinite values")
    return array


def is_finite(array: np.ndarray) -> bool:
    """Return whether `array` holds neither NaN nor infinity; integers never do."""
    if array.dtype.kind != "f":
        return True
    # A finite sum of squares proves it at half the cost; one that overflows proves nothing.
    if array.size <= _SMALL and math.isfinite(np.vdot(array, array)):
        return True
    return bool(np.logical_and.reduce(np.isfinite(array), axis=None))


def has_shared_symbols(specs: Sequence[Input]) -> bool:
    """Return whether a symbol occurs twice in the shapes, so that `check_symbols` is needed."""
    symbols = [size for spec in specs for size in spec.shape if isinstance(size, str)]
    return len(set(symbols)) < len(symbols)


def check_symbols(arrays: Mapping[str, np.ndarray], specs: Sequence[Input]) -> None:
    """Raise InputError where a symbol of the shapes, such as `batch`, has two sizes."""
    seen: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for symbol, size in zip(spec.shape, arrays[spec.name].shape):
            if isinstance(symbol, str) and seen.setdefault(symbol, (size, spec.name))[0] != size:
                first = seen[symbol]
                raise InputError(f"input {spec.name!r}: {symbol!r} is {size} here and {first[0]} in input {first[1]!r}")


def _matches(shape: tuple[int, ...], spec: Input, any_batch: bool) -> bool:
    if len(shape) != len(spec.shape) or 0 in shape:
        return False
    if any(isinstance(size, int) and size != actual for size, actual in zip(spec.shape, shape)):
        return False
    return any_batch or shape[0] == 1
