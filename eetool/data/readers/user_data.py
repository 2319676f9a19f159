"""`package.module:function`: examples that a function of the user returns.

It returns a Dataset of torch or a sequence of (input, label) pairs, or arrays (inputs, labels), either with the names
of the classes, or these by set: {"train": …, "val": …, "test": …, "classes": […]}. Every example is read once: an
augmentation in a Dataset would give one version of it.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from eetool.data.class_names import composed, first_twice, lookalikes
from eetool.data.readers.feature_arrays import finished_features
from eetool.data.readers.pixel_arrays import check_pixels, flat_images, odd_channels
from eetool.data.source import Source, integer_labels, number_classes
from eetool.errors import ArtefactError, UsageError
from eetool.model.references.factory_call import parse_factory, write_factory
from eetool.model.user_code import user_code
from eetool.model.user_function import call_function
from eetool.names import quote
from eetool.progress import Progress

_TRAIN, _VALIDATION, _TEST, _CLASSES = "train", "val", "test", "classes"
_SETS = (_TRAIN, _VALIDATION, _TEST)
_HINT = (
    "It returns a Dataset or a list of (input, label) pairs, or arrays (inputs, labels), with (…, classes) if you "
    "like; or a dict of these with train, val and test, and classes."
)
_INPUT_HINT = "Inputs are uint8 pixels (C, H, W), images of Pillow, or floats, as arrays or tensors."
_IMAGE_CHANNELS = (1, 3)


class _Part(NamedTuple):
    """Examples of one set."""

    inputs: np.ndarray
    labels: np.ndarray


def read_user_data(reference: str, progress: Progress) -> Source:
    """Call the function in `reference`, and read all examples that it returns.

    Random numbers begin with the same seed in every call, because splits are recorded by the number of an example.

    Args:
        reference: `package.module:function`, or with arguments `package.module:function(size=96)`.
        progress: shows the examples.

    Raises:
        UsageError: there is no such function, or it returns something else.
        ArtefactError: it failed, or examples, labels or classes are invalid.
    """
    function, arguments = parse_factory(reference)
    name = write_factory(function, arguments)
    with _seeded():
        given, classes = _sets(call_function(function, arguments, _HINT), name)
        places = {role: name if role == _TRAIN else f"{name}: {role}" for role in given}
        parts = {role: _read_part(value, places[role], progress) for role, value in given.items()}
    return _source(name, parts, places, classes)


def _source(name: str, parts: Mapping[str, _Part], places: Mapping[str, str], classes: Any) -> Source:
    for role, part in parts.items():
        if (part.inputs.shape[1:], part.inputs.dtype) != (parts[_TRAIN].inputs.shape[1:], parts[_TRAIN].inputs.dtype):
            shapes = " and ".join(f"{p.inputs.dtype} {p.inputs.shape[1:]}" for p in (part, parts[_TRAIN]))
            raise ArtefactError(f"{places[role]}: examples of {role} and {_TRAIN} differ: {shapes}", _INPUT_HINT)
    sizes = {role: len(part.labels) for role, part in parts.items()}
    notes = []
    if _TEST not in sizes and _VALIDATION in sizes:
        sizes[_TEST] = sizes.pop(_VALIDATION)
        notes.append(f"{_VALIDATION} is the test set, because there is no {_TEST}")
    names = number_classes(f"{name}: labels", parts[_TRAIN].labels) if classes is None else _names(classes, name)
    inputs, labels = (np.concatenate([parts[role][i] for role in _SETS if role in parts]) for i in (0, 1))
    return Source(
        name,
        inputs,
        labels,
        names,
        mirror=None,
        official_test=sizes.get(_TEST, 0),
        official_validation=sizes.get(_VALIDATION, 0),
        notes=(*notes, *_notes(inputs), *lookalikes(names)),
    )


def _notes(inputs: np.ndarray) -> Iterator[str]:
    """Yield what the user should know about the inputs."""
    if inputs.dtype == np.uint8:
        yield from filter(None, (odd_channels(inputs), flat_images(inputs)))
    elif inputs.ndim == 4 and inputs.shape[1] in _IMAGE_CHANNELS:
        yield "floats are finished inputs, neither normalised nor augmented here; pixels are returned as uint8"


@contextmanager
def _seeded() -> Iterator[None]:
    """Run the block with random numbers of a fixed seed, and restore the state of the generators."""
    python, numpy, state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(state)


def _sets(value: Any, name: str) -> tuple[dict[str, Any], Any]:
    """Return what the function returned by set, and the names of the classes or None."""
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in (*_SETS, _CLASSES)]
        if unknown or _TRAIN not in value:
            problem = f"of unknown keys such as {unknown[0]!r}" if unknown else f"without {_TRAIN!r}"
            raise UsageError(f"{name} returns a dict {problem}", _HINT)
        given = {role: value[role] for role in _SETS if role in value}
        return given, value.get(_CLASSES, _own_classes(value[_TRAIN]))
    if isinstance(value, tuple) and len(value) == 3:
        return {_TRAIN: value[:2]}, value[2]
    if isinstance(value, tuple) and len(value) == 2 and _are_names(value[1]) and not _is_array(value[0]):
        return {_TRAIN: value[0]}, value[1]
    return {_TRAIN: value}, _own_classes(value)


def _own_classes(dataset: Any) -> Any:
    """Return the names in the attribute `classes`, as the data sets of torchvision have it, or None."""
    classes = getattr(dataset, _CLASSES, None)
    return classes if _are_names(classes) else None


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(name, str) for name in value)


def _names(classes: Any, name: str) -> tuple[str, ...]:
    if not isinstance(classes, (list, tuple, np.ndarray)) or not all(isinstance(label, str) for label in classes):
        raise ArtefactError(f"{name}: classes are {quote(str(classes))}, not a list of texts", _HINT)
    names = tuple(composed(str(label)) for label in classes)
    twice = first_twice(names)
    if twice is not None:
        raise ArtefactError(f"{name}: two classes have one name, {quote(twice)}", "Every class needs its own name.")
    return names


def _read_part(value: Any, where: str, progress: Progress) -> _Part:
    """Return the examples of one set, checked."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and _is_array(value[0]):
        inputs, labels = _array(value[0]), _array(value[1])
        if inputs.ndim == 0 or len(inputs) != len(np.atleast_1d(labels)):
            raise ArtefactError(f"{where}: inputs {inputs.shape} and labels {labels.shape} differ in number", _HINT)
    else:
        inputs, labels = _read_pairs(value, where, progress)
    if inputs.dtype.kind == "f":
        inputs = finished_features(f"{where}: inputs", inputs)
    else:
        check_pixels(f"{where}: inputs", inputs)
    return _Part(inputs, integer_labels(f"{where}: labels", labels))


def _read_pairs(dataset: Any, where: str, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs and labels of a sequence of pairs."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, str):
        raise UsageError(f"{where} returns {type(dataset).__name__}, not examples of known number", _HINT)
    with user_code(where):
        count = len(dataset)
    if count == 0:
        raise ArtefactError(f"{where}: holds no examples", _HINT)
    inputs, labels = np.empty(0), []
    with progress(f"examples of {where}", count) as advance:
        for index in range(count):
            with user_code(f"{where}: example {index}"):
                pair = dataset[index]
            example, label = _pair(pair, f"{where}: example {index}")
            if index == 0:
                inputs = np.empty((count, *example.shape), example.dtype)
            elif (example.shape, example.dtype) != (inputs.shape[1:], inputs.dtype):
                found, first = f"{example.dtype} {example.shape}", f"{inputs.dtype} {inputs.shape[1:]}"
                raise ArtefactError(
                    f"{where}: example {index} is {found}, and example 0 is {first}",
                    "Give all of them one size and type, such as by a transform that resizes and crops.",
                )
            inputs[index] = example
            labels.append(label)
            advance(1)
    shapes = {label.shape for label in labels}
    if len(shapes) > 1:
        raise ArtefactError(f"{where}: labels have the shapes {sorted(shapes)}", "A label is one whole number.")
    return inputs, np.stack(labels)


def _pair(pair: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the input and the label of an example."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise UsageError(f"{where} is {type(pair).__name__}, not a pair of an input and its label", _HINT)
    example, label = _array(pair[0]), _array(pair[1])
    if example.dtype.kind not in "uif":
        raise ArtefactError(f"{where}: its input is {type(pair[0]).__name__} of {example.dtype}", _INPUT_HINT)
    return example, label


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def _array(value: Any) -> np.ndarray:
    """Return a tensor, an array or an image of Pillow as an array; the channels of an image come first."""
    from PIL import Image

    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(value, Image.Image):
        if value.mode not in ("L", "RGB"):  # what lies behind transparency, and which value is white, is not known
            raise ArtefactError(f"an image of Pillow has the mode {value.mode}", 'Give image.convert("RGB") or ("L").')
        pixels = np.asarray(value)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.asarray(value)
