"""Inputs to quantise with: images of a data source, brought to the form that the model reads."""

from collections.abc import Sequence

import numpy as np

from eetool.errors import UsageError
from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import normalise


def model_inputs(images: np.ndarray, inputs: Sequence[Input]) -> dict[str, np.ndarray]:
    """uint8 images (n, C, H, W) to the one input of the model, by its name.

    Raises:
        UsageError: the model has several inputs, no preprocessing, or reads images of another size.
    """
    spec = inputs[0]
    if len(inputs) > 1 or spec.preprocess is None:
        raise UsageError("the model reads something else than images, so image data cannot calibrate it")
    if images.shape[1:] != spec.shape[1:]:
        found, wanted = ("x".join(map(str, shape[1:])) for shape in (images.shape, spec.shape))
        raise UsageError(f"the calibration images are {found}, and the model reads {wanted}")
    return {spec.name: normalise(images, spec)}


def spread_over(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `indices`, evenly spread."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)
    chosen: np.ndarray = indices[places]
    return chosen
