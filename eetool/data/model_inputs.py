"""Examples of a source to what a model takes."""

import numpy as np

from eetool.errors import ArtefactError
from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import normalise


def model_inputs(examples: np.ndarray, spec: Input) -> np.ndarray:
    """Pixels uint8 (n, C, H, W) normalised as `spec` says; finished inputs as they are.

    Raises:
        ArtefactError: the model takes inputs of another kind or size.
    """
    pixels = examples.dtype == np.uint8
    sizes = all(isinstance(want, str) or want == size for want, size in zip(spec.shape, examples.shape, strict=False))
    if pixels != (spec.preprocess is not None) or examples.ndim != len(spec.shape) or not sizes:
        kind = "images" if spec.preprocess is not None else spec.dtype
        raise ArtefactError(
            f"the model takes {kind} of {_form(spec.shape)}, and the data has {examples.dtype} of "
            f"{_form(examples.shape)}",
            "Give data of that size, or train a model for this data.",
        )
    if pixels:
        return normalise(examples, spec)
    if examples.dtype != spec.dtype:
        raise ArtefactError(f"the model takes {spec.dtype}, and the data has {examples.dtype}", "Give other data.")
    return examples


def _form(shape: tuple[int | str, ...]) -> str:
    return "x".join(str(size) for size in shape[1:])
