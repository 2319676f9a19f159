"""Calibration inputs for quantisation, from examples of a data source."""

from collections.abc import Sequence

import numpy as np

from eetool.data.rows import Examples
from eetool.data.views import Views, inputs_by_name
from eetool_runtime.manifest import Input


def calibration_inputs(examples: Examples | Views, inputs: Sequence[Input]) -> dict[str, np.ndarray]:
    """Return examples (n, …) of a source as the inputs of the model, by name.

    Raises:
        UsageError: the model has several inputs, which are no sizes of one photograph.
        ArtefactError: it reads inputs of another kind or size.
    """
    return inputs_by_name(examples, inputs)


def evenly_spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `indices`, evenly spread."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)
    chosen: np.ndarray = indices[places]
    return chosen
