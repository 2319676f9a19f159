"""Numbers on the wire: how boundary tensors are sent, and the scales that 8-bit tensors are sent with."""

from collections.abc import Mapping

import numpy as np

from eetool.errors import ArtefactError
from eetool.export.offload.cut import Cut
from eetool_runtime.manifest import BATCH, Input, Manifest, Preprocess, describe_tensor
from eetool_runtime.manifest_offload import FP16, UINT8, OffloadInput
from eetool_runtime.offload.wire import to_uint8
from eetool_runtime.offload_checks import PROTOCOL_TYPES, WIRE_TYPES
from eetool_runtime.preprocess import normalise

# Names of number formats in the Open Inference Protocol, by those of numpy.
PROTOCOL_DTYPES = {**PROTOCOL_TYPES, "float16": WIRE_TYPES[FP16]}
_FLOAT = "float32"
_LEVELS = 255
_LARGEST_FP16 = float(np.finfo(np.float16).max)
_SHRINKS = np.linspace(0.3, 1.0, 29)  # shares of the full range that are tried for a scale
_TRIED_NUMBERS = 1 << 18  # of a tensor, by which a range is judged


def wire_inputs(
    cut: Cut, wire: str, manifest: Manifest, calibration: Mapping[str, np.ndarray]
) -> tuple[OffloadInput, ...]:
    """Return how each boundary tensor travels.

    Args:
        cut: the cut.
        wire: `fp32`, `fp16` or `uint8`.
        manifest: of the bundle.
        calibration: boundary tensors of calibration inputs, by name.

    Raises:
        ArtefactError: a tensor has several rows per input, or numbers that 16-bit floats do not have.
    """
    for name, tensor in cut.tensors.items():
        if tensor.shape[0] != BATCH:
            raise ArtefactError(
                f"the cut sends {name!r}, which has several rows per input ({describe_tensor(tensor)})",
                "Cut behind another exit: `eetool export MODEL --offload` lists them.",
            )
    rules = pixel_rules(manifest)
    return tuple(
        _wire_input(name, tensor.dtype, wire, rules.get(name), calibration[name])
        for name, tensor in cut.tensors.items()
    )


def pixel_rules(manifest: Manifest) -> dict[str, Preprocess]:
    """Return the normalisation of every input that is made from pixels, by name."""
    return {spec.name: spec.preprocess for spec in manifest.inputs if spec.preprocess is not None}


def _wire_input(name: str, dtype: str, wire: str, pixels: Preprocess | None, sample: np.ndarray) -> OffloadInput:
    if dtype != _FLOAT or wire not in (FP16, UINT8):
        return OffloadInput(name, name, PROTOCOL_DTYPES[dtype])
    if wire == FP16:
        largest = float(np.abs(sample).max(initial=0.0))
        if largest > _LARGEST_FP16 / 2:  # new inputs may reach further than those seen
            raise ArtefactError(
                f"{name!r} reaches {largest:.3g} on calibration data, and 16-bit floats end at {_LARGEST_FP16:.0f}",
                "Send it with --wire fp32.",
            )
        return OffloadInput(name, name, PROTOCOL_DTYPES["float16"])
    if pixels is not None:
        return OffloadInput(name, name, PROTOCOL_DTYPES["uint8"])
    return OffloadInput(name, name, PROTOCOL_DTYPES["uint8"], *fit_scale(sample))


def fit_scale(sample: np.ndarray) -> tuple[float, int]:
    """Return scale and zero point of 8-bit numbers whose mean squared error on `sample` is the least.

    The range always includes 0, which is exact. Of the full range, shares from 30 % on are tried: numbers outside are
    clipped, and those inside are finer (Banner et al., arXiv 1810.05723, search for the same optimum).
    """
    flat = sample.ravel()
    tried = flat[:: 1 + flat.size // _TRIED_NUMBERS].astype(np.float32)
    low, high = min(float(flat.min(initial=0.0)), 0.0), max(float(flat.max(initial=0.0)), 0.0)
    if high == low:
        return 1.0, 0
    choices = [_affine(share * low, share * high) for share in _SHRINKS]
    errors = [float(((dequantise(to_uint8(tried, *choice), *choice) - tried) ** 2).mean()) for choice in choices]
    return choices[int(np.argmin(errors))]


def _affine(low: float, high: float) -> tuple[float, int]:
    """Return scale and zero point of the range from `low` to `high`, which includes 0."""
    scale = float(np.float32((high - low) / _LEVELS))
    return scale, int(np.clip(round(-low / scale), 0, _LEVELS))


def dequantise(array: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return what the server's graph makes of uint8 numbers, as DequantizeLinear of ONNX defines it."""
    return (array.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)


def decode(sent: np.ndarray, wire: OffloadInput, spec: Input | None) -> np.ndarray:
    """Return the boundary tensor that the server's graph computes from what was sent."""
    if wire.dtype == "FP16":
        return sent.astype(np.float32)
    if wire.dtype != "UINT8":
        return sent
    if wire.scale is not None and wire.zero_point is not None:
        return dequantise(sent, wire.scale, wire.zero_point)
    if spec is None or spec.preprocess is None:
        return sent  # a tensor of uint8 travels as it is
    return normalise(sent, spec)
