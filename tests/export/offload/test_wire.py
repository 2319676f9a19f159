"""Numbers on the wire: laws of the three precisions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.errors import ArtefactError
from eetool.export.offload.cut import find_cut
from eetool.export.offload.wire import decode, dequantise, fit_scale, wire_inputs
from eetool_runtime import open_bundle
from eetool_runtime.manifest import Input, Preprocess
from eetool_runtime.manifest_offload import OffloadInput
from eetool_runtime.offload.wire import to_pixels, to_uint8
from eetool_runtime.preprocess import normalise
from tests.helpers.tiny_bundle import X, write_tiny_bundle

FLOATS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50)


@given(FLOATS)
def test_dequantise_keeps_zero_and_numbers_inside_the_range(numbers: list[float]) -> None:
    x = np.array(numbers, np.float32)
    scale, zero_point = fit_scale(x)
    assert dequantise(to_uint8(np.zeros(1, np.float32), scale, zero_point), scale, zero_point) == 0
    low, high = -zero_point * scale, (255 - zero_point) * scale
    inside = x[(x >= low) & (x <= high)]
    back = dequantise(to_uint8(inside, scale, zero_point), scale, zero_point)
    assert (np.abs(back - inside) <= scale * 0.5001).all()


@given(FLOATS)
def test_fit_scale_is_no_worse_than_the_full_range(numbers: list[float]) -> None:
    x = np.array(numbers, np.float32)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if high == low:
        return
    full = float(np.float32((high - low) / 255))
    whole = (full, int(np.clip(round(-low / full), 0, 255)))
    errors = [((dequantise(to_uint8(x, *choice), *choice) - x) ** 2).mean() for choice in (fit_scale(x), whole)]
    assert errors[0] <= errors[1] * (1 + 1e-6) + 1e-12


def test_fit_scale_of_outliers_clips_them() -> None:
    x = np.concatenate([np.abs(np.random.default_rng(0).normal(size=200_000)), [10.0]]).astype(np.float32)
    scale, zero_point = fit_scale(x)
    assert zero_point == 0
    assert 6 < 255 * scale < 9


def test_decode_pixels_are_exact() -> None:
    rule = Preprocess(1 / 255, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    spec = Input("input", "float32", ("batch", 3, 8, 32), rule)
    pixels = np.arange(256 * 3, dtype=np.uint16).reshape(1, 3, 8, 32).astype(np.uint8)
    wire = OffloadInput("input", "input", "UINT8")
    made = normalise(pixels, spec)
    sent = to_pixels(made, spec)
    assert (sent == pixels).all()
    assert (decode(sent, wire, spec) == made).all()


def test_wire_inputs_of_pixels_and_features_differ(tmp_path: Path) -> None:
    m = open_bundle(write_tiny_bundle(tmp_path)).manifest
    (pixels,) = wire_inputs(find_cut(m, None), "uint8", m, {"input": X})
    (features,) = wire_inputs(find_cut(m, 0), "uint8", m, {"features0": np.abs(X)})
    assert (pixels.dtype, pixels.scale, pixels.zero_point) == ("UINT8", None, None)
    assert (features.dtype, features.zero_point) == ("UINT8", 0)


def test_wire_inputs_tokens_travel_as_they_are(tmp_path: Path) -> None:
    m = open_bundle(write_tiny_bundle(tmp_path, ids=True)).manifest
    sample = {"input": X, "ids": np.ones((16, 3), np.int64)}
    wires = {w.tensor: w.dtype for w in wire_inputs(find_cut(m, None), "fp16", m, sample)}
    assert wires == {"input": "FP16", "ids": "INT64"}


def test_wire_inputs_beyond_16_bit_floats_are_refused(tmp_path: Path) -> None:
    m = open_bundle(write_tiny_bundle(tmp_path)).manifest
    with pytest.raises(ArtefactError, match="reaches 4e\\+04 on calibration data, and 16-bit floats end at 65504"):
        wire_inputs(find_cut(m, None), "fp16", m, {"input": np.full((1, 1, 4, 4), 4e4, np.float32)})
