"""Labelled arrays of a program as a data source."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eetool.data.readers.pixel_arrays import check_pixels
from eetool.data.source import Source, integer_labels, number_classes, validate_source
from eetool.errors import ArtefactError

Pair = tuple[Any, Any]  # inputs (N, …) and labels (N,): arrays, or tensors of torch on the processor
_FORMS = "Give images uint8 (N, C, H, W), or features of floats (N, D), (N, T, D) or (N, C, H, W)."


def source_from_arrays(
    examples: Pair, test: Pair | None = None, classes: Sequence[str] | None = None, name: str = "arrays"
) -> Source:
    """Return a source of arrays.

    Args:
        examples: inputs and labels: images uint8 (N, C, H, W), or features of floats; integers (N,).
        test: the same of an official test set.
        classes: names of the classes; by default their numbers.
        name: name of the data in models and bundles.

    Raises:
        ArtefactError: an array has another form, or a label or class is invalid.
    """
    parts = [_part(pair, f"{name}: {what}") for pair, what in ((examples, ""), (test, "test ")) if pair is not None]
    if len({part[0].shape[1:] for part in parts}) > 1 or len({part[0].dtype for part in parts}) > 1:
        forms = " and ".join(f"{part[0].dtype} {part[0].shape[1:]}" for part in parts)
        raise ArtefactError(f"{name}: the examples and the test set differ: {forms}")
    inputs, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    names = tuple(map(str, classes)) if classes is not None else number_classes(f"{name}: labels", parts[0][1])
    return validate_source(Source(name, inputs, labels, names, False, len(parts[1][1]) if test is not None else 0))


def _part(pair: Pair, where: str) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = (np.asarray(values) for values in pair)
    if len(inputs) != len(labels):
        raise ArtefactError(f"{where}inputs are {len(inputs)} and labels {len(labels)}", "Give one label for each.")
    labels = integer_labels(f"{where}labels", labels)
    if not np.issubdtype(inputs.dtype, np.floating):
        check_pixels(f"{where}inputs", inputs)
        return inputs, labels
    if inputs.ndim not in (2, 3, 4):
        raise ArtefactError(f"{where}inputs are {inputs.dtype} {inputs.shape}", _FORMS)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        features: np.ndarray = inputs.astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(features).all(tuple(range(1, features.ndim))))
    if len(odd):
        raise ArtefactError(f"{where}inputs of example {odd[0]} are not finite as float32", f"{len(odd)} are not.")
    return features, labels
