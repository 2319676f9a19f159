"""Calibration inputs for quantisation, from examples of a data source."""

from collections.abc import Sequence

import numpy as np

from eetool.data.model_inputs import model_inputs
from eetool.errors import UsageError
from eetool_runtime.manifest import Input


def calibration_inputs(examples: np.ndarray, inputs: Sequence[Input]) -> dict[str, np.ndarray]:
    """Return examples (n, …) of a source as the one input of the model, by its name.

    Raises:
        UsageError: the model has several inputs.
        ArtefactError: it reads inputs of another kind or size.
    """
    if len(inputs) > 1:
        raise UsageError("the model reads several inputs, so this data cannot calibrate it")
    return {inputs[0].name: model_inputs(examples, inputs[0])}


def evenly_spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `indices`, evenly spread."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)
    chosen: np.ndarray = indices[places]
    return chosen
