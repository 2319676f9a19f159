"""Conversion of a source's examples to model inputs."""

import numpy as np

from eetool.errors import ArtefactError
from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import normalise


def model_inputs(examples: np.ndarray, spec: Input) -> np.ndarray:
    """Normalise pixels as the input `spec` describes, and return finished inputs unchanged.

    Args:
        examples: pixels uint8 (n, C, H, W), or finished inputs (n, …).
        spec: the input of the model.

    Raises:
        ArtefactError: the model takes inputs of another kind or size.
    """
    are_pixels = examples.dtype == np.uint8
    fits = all(isinstance(size, str) or size == given for size, given in zip(spec.shape, examples.shape, strict=False))
    if are_pixels != (spec.preprocess is not None) or examples.ndim != len(spec.shape) or not fits:
        kind = "images" if spec.preprocess is not None else spec.dtype
        raise ArtefactError(
            f"the model takes {kind} of {_shape_text(spec.shape)}, and the data has {examples.dtype} of "
            f"{_shape_text(examples.shape)}",
            "Give data of that size, or train a model for this data.",
        )
    if are_pixels:
        return normalise(examples, spec)
    if examples.dtype != spec.dtype:
        raise ArtefactError(f"the model takes {spec.dtype}, and the data has {examples.dtype}", "Give other data.")
    return examples


def _shape_text(shape: tuple[int | str, ...]) -> str:
    return "x".join(str(size) for size in shape[1:])
