"""Raw input to model input, and the check that an array is one, in numpy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from .argument_checks import shown
from .errors import InputError
from .manifest import Input, describe_tensor

Raw = Union[np.ndarray, Sequence[Any], str]

PADDING, UNKNOWN, START = 0, 1, 2
SPECIAL = 3  # ids before that of the first word

_SMALL = 8192  # elements
_WORD = re.compile(r"\w+|[^\w\s]")


def preprocess_all(raw: Union[Raw, Mapping[str, Raw]], specs: Sequence[Input]) -> Any:
    """Raw data to model inputs at batch 1, by name where the model has several; raises InputError."""
    given = name_inputs(raw, specs)
    finished = {s.name: preprocess(given[s.name], s) for s in specs}
    return finished if isinstance(raw, Mapping) else finished[specs[0].name]


def name_inputs(given: Any, specs: Sequence[Input]) -> Mapping[str, Any]:
    """What was given for each input; a single input may come without its name. Raises InputError."""
    names = [s.name for s in specs]
    if not isinstance(given, Mapping):
        if len(names) > 1:
            raise InputError(f"the model has {len(names)} inputs; give a dict with {names}")
        return {names[0]: given}
    if set(given) != set(names):
        found = sorted(name if isinstance(name, str) else shown(name) for name in given)
        raise InputError(f"expected inputs {names}, found {found}")
    return given


def preprocess(raw: Raw, spec: Input) -> np.ndarray:
    """One raw input to the model's input at batch 1.

    Where the bundle holds preprocessing, `raw` is an image: uint8 (H, W) or (H, W, C) of exactly the size that `spec`
    names. It becomes float32 (1, C, H, W), by `(raw * scale - mean) / std`, as in training. Where it holds a
    vocabulary, `raw` may be a text, which becomes token ids int64 (1, tokens). Elsewhere `raw` is one finished input,
    with or without the batch dimension: an array of the right dtype, or a list of numbers that fit it.

    Raises:
        InputError: `raw` has another dtype or shape; the message says which is wanted.
    """
    if isinstance(raw, str) and spec.text is not None:
        return token_ids([raw], spec.text.vocabulary, int(spec.shape[1]))
    if spec.preprocess is None:
        return _finished(raw, spec)
    pixels = found = _array(raw, spec)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]  # (H, W) -> (H, W, 1)
    _, channels, height, width = spec.shape
    if pixels.dtype != np.uint8 or pixels.shape != (height, width, channels):
        raise InputError(
            f"input {spec.name!r}: expected raw pixels uint8 ({height}, {width}, {channels}), "
            f"found {found.dtype} {found.shape}",
            _advice(pixels, spec),
        )
    return normalise(pixels.transpose(2, 0, 1)[None], spec)  # (H, W, C) -> (1, C, H, W)


def words_of(text: str) -> list[str]:
    """Lower-case words: runs of letters, digits and underscores; every other sign is one too."""
    return _WORD.findall(text.lower())


def token_ids(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> np.ndarray:
    """int64 (n, length): the start, the words (id = place in `vocabulary` + 3, 1 where it is unknown), then padding.

    What does not fit is cut off.
    """
    known = {word: index + SPECIAL for index, word in enumerate(vocabulary)}
    ids = np.full((len(texts), length), PADDING, np.int64)
    ids[:, 0] = START
    for row, text in zip(ids, texts):
        found = [known.get(word, UNKNOWN) for word in words_of(text)[: length - 1]]
        row[1 : 1 + len(found)] = found
    return ids


def _advice(pixels: np.ndarray, spec: Input) -> str:
    """What to do about an image that does not fit."""
    channels, height, width = spec.shape[1:]
    if pixels.shape in ((channels, height, width), (1, channels, height, width)):
        return "Channels come last: raw.transpose(1, 2, 0). What is finished already goes to model(x) as it is."
    if pixels.ndim == 4:
        return "Bring one image at a time; model.batch(xs) answers many inputs at once."
    if pixels.dtype != np.uint8:
        return "Raw pixels are uint8, from 0 to 255. What is normalised already goes to model(x) as it is."
    if pixels.ndim == 3 and pixels.shape[2] != channels:
        return f"The model looks at {channels} channels: convert grey, colour or transparency first."
    return f"There is no resizing: bring the image to {width} x {height} as in training, for example with Pillow."


def _finished(raw: Raw, spec: Input) -> np.ndarray:
    """An array or list for an input without preprocessing, at batch 1."""
    array = _array(raw, spec)
    if not isinstance(raw, np.ndarray):
        array = _converted(array, spec)
    if array.dtype != spec.dtype:
        raise InputError(
            f"input {spec.name!r}: the bundle holds no preprocessing; bring a finished {describe_tensor(spec)}, not {array.dtype}"
        )
    if array.ndim == len(spec.shape) - 1:
        array = array[None]  # one input without a batch dimension -> (1, ...)
    return check_array(array, spec)


def _array(raw: Raw, spec: Input) -> np.ndarray:
    """An array of what was given; InputError where numpy makes none of it."""
    try:
        return np.asarray(raw)
    except ValueError:
        found = "lists of different lengths"
    except Exception as error:  # whatever the object itself raises
        found = f"{type(raw).__name__} ({error})"
    raise InputError(f"input {spec.name!r}: expected {describe_tensor(spec)}, found {found}")


def _converted(numbers: np.ndarray, spec: Input) -> np.ndarray:
    """Python's numbers in the dtype of `spec`: integers may become floats, and nothing may be lost otherwise."""
    wanted = np.dtype(spec.dtype)
    allowed = {"f": "iuf", "b": "b"}.get(wanted.kind, "iu")
    if numbers.dtype.kind in allowed:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            converted = numbers.astype(wanted)
        if wanted.kind == "f" or np.array_equal(converted, numbers):
            return converted
    raise InputError(f"input {spec.name!r}: expected {describe_tensor(spec)}, found {numbers.dtype} {numbers.shape}")


def normalise(pixels: np.ndarray, spec: Input) -> np.ndarray:
    """uint8 (N, C, H, W) to float32 of the same shape, by the scale, mean and std of `spec`."""
    rule = spec.preprocess
    if rule is None:
        raise InputError(
            f"input {spec.name!r}: the bundle holds no preprocessing; bring a finished {describe_tensor(spec)}"
        )
    mean = np.array(rule.mean, np.float32).reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
    std = np.array(rule.std, np.float32).reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
    return np.ascontiguousarray((pixels.astype(np.float32) * np.float32(rule.scale) - mean) / std)


def check_array(array: object, spec: Input, *, any_batch: bool = False) -> np.ndarray:
    """Return `array` where it fits `spec`, else raise InputError naming the tensor and what was expected.

    A symbolic dimension fits any size, but the first must be 1 unless `any_batch`. NaN and infinity are refused:
    a gate fed with them would answer nonsense with high confidence.
    """
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"input {spec.name!r}: expected a numpy array {describe_tensor(spec)}, found {type(array).__name__}"
        )
    if array.dtype != spec.dtype:
        raise InputError(
            f"input {spec.name!r}: expected {spec.dtype}, found {array.dtype}",
            "model.preprocess(raw) turns uint8 pixels into the model's input." if array.dtype == np.uint8 else None,
        )
    if not _fits(array.shape, spec, any_batch):
        raise InputError(f"input {spec.name!r}: expected shape {describe_tensor(spec)}, found {array.shape}")
    if not is_finite(array):
        raise InputError(f"input {spec.name!r}: holds NaN or infinite values")
    return array


def is_finite(array: np.ndarray) -> bool:
    """Whether `array` holds neither NaN nor infinity; integers never do."""
    if array.dtype.kind != "f":
        return True
    # A sum of squares that is finite proves it, at half the cost; one that overflows says nothing. Of small arrays
    # only: a product of large ones would wake the threads of a BLAS.
    if array.size <= _SMALL and math.isfinite(np.vdot(array, array)):
        return True
    return bool(np.logical_and.reduce(np.isfinite(array), axis=None))


def has_shared_symbols(specs: Sequence[Input]) -> bool:
    """Whether any symbol stands twice in the shapes, so that `check_symbols` has something to look at."""
    symbols = [size for spec in specs for size in spec.shape if isinstance(size, str)]
    return len(set(symbols)) < len(symbols)


def check_symbols(arrays: Mapping[str, np.ndarray], specs: Sequence[Input]) -> None:
    """Raise InputError where a symbol of the shapes, such as `batch`, stands for two sizes at once."""
    seen: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for symbol, size in zip(spec.shape, arrays[spec.name].shape):
            if isinstance(symbol, str) and seen.setdefault(symbol, (size, spec.name))[0] != size:
                first = seen[symbol]
                raise InputError(f"input {spec.name!r}: {symbol!r} is {size} here and {first[0]} in input {first[1]!r}")


def _fits(shape: tuple[int, ...], spec: Input, any_batch: bool) -> bool:
    if len(shape) != len(spec.shape) or 0 in shape:
        return False
    if any(isinstance(want, int) and want != got for want, got in zip(spec.shape, shape)):
        return False
    return any_batch or shape[0] == 1
