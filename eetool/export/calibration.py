"""Calibration inputs for quantisation, from examples of a data source."""

from collections.abc import Mapping, Sequence

import numpy as np

from eetool.data.rows import Examples
from eetool.data.views import Views, inputs_by_name
from eetool.errors import UsageError
from eetool.model.checkpoint import Checkpoint
from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import check_array


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


def checked_calibration(
    checkpoint: Checkpoint, calibration: Mapping[str, np.ndarray] | None
) -> Mapping[str, np.ndarray]:
    """Return the inputs (n, …) to quantise with: those given, or the samples of the checkpoint.

    Raises:
        UsageError: they do not fit the model.
    """
    specs = checkpoint.record.spec.inputs
    if calibration is None:
        return {spec.name: checkpoint.samples[spec.name].numpy() for spec in specs}
    if set(calibration) != {spec.name for spec in specs}:
        raise UsageError(f"calibration needs the inputs {[s.name for s in specs]}, found {sorted(calibration)}")
    if len({len(array) for array in calibration.values()}) != 1:
        raise UsageError("the calibration inputs are of different number")
    return {spec.name: check_array(calibration[spec.name], spec, any_batch=True) for spec in specs}
