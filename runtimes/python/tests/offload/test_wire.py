"""Encodings of tensors that travel, with the worked numbers of docs/offload.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import eetool_runtime as ee
from eetool_runtime.manifest import Input, Preprocess
from eetool_runtime.offload.raw_tensors import array_of, datatype_of, raw_contents
from eetool_runtime.offload.wire import encoders, to_fp16, to_pixels, to_uint8
from eetool_runtime.preprocess import normalise
from tests.helpers.tiny_bundle import with_offload, write_tiny_bundle

IMAGENET = Input(
    "x",
    "float32",
    ("batch", 3, 4, 4),
    Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
)
floats = st.floats(-1e6, 1e6, width=32)


def test_to_fp16_worked_numbers() -> None:
    x = np.array([1.0, 0.1, 2049.0, 2051.0, 65519.0, 65520.0, 1e9, -1e9], np.float32)
    expected = [1.0, 0.0999755859375, 2048.0, 2052.0, 65504.0, 65504.0, 65504.0, -65504.0]
    assert to_fp16(x).tolist() == expected


def test_to_uint8_worked_numbers() -> None:
    x = np.array([0.0, 0.25, 0.75, 1.25, -0.25, 127.0, 200.0, -100.0], np.float32)
    assert to_uint8(x, 0.5, 10).tolist() == [10, 10, 12, 12, 10, 255, 255, 0]


def test_to_pixels_worked_numbers() -> None:
    spec = Input("x", "float32", ("batch", 1, 1, 4), Preprocess(0.015625, (0.5,), (0.5,)))
    x = np.array([-1.0, 0.0, 1.0, 9.0], np.float32).reshape(1, 1, 1, 4)
    assert to_pixels(x, spec).ravel().tolist() == [0, 32, 64, 255]


@given(arrays.arrays(np.uint8, (1, 4, 4, 3)))
def test_to_pixels_of_preprocessed_pixels_are_the_same(pixels: np.ndarray) -> None:
    x = normalise(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), IMAGENET)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(to_pixels(x, IMAGENET), pixels.transpose(0, 3, 1, 2))


@given(arrays.arrays(np.float32, (2, 3), elements=floats), st.floats(2**-10, 2**10, width=32), st.integers(0, 255))
def test_to_uint8_error_is_at_most_half_a_step_or_clipped(x: np.ndarray, scale: float, zero_point: int) -> None:
    q = to_uint8(x, scale, zero_point).astype(np.float64)
    decoded = (q - zero_point) * scale
    inside = (q > 0) & (q < 255)
    assert (np.abs(decoded - x)[inside] <= scale * 0.5001 + np.abs(x)[inside] * 1e-6).all()


@pytest.mark.parametrize("name", ["FP32", "FP16", "UINT8", "INT8", "INT32", "INT64", "BOOL"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_raw_contents_of_any_type_and_order_round_trip(name: str, order: str) -> None:
    types = {"FP32": "f4", "FP16": "f2", "UINT8": "u1", "INT8": "i1", "INT32": "i4", "INT64": "i8", "BOOL": "?"}
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(np.dtype(types[name]).newbyteorder(order))
    assert datatype_of(array) == name
    back = array_of("x", name, [2, 3], raw_contents(array))
    np.testing.assert_array_equal(back, array)
    assert raw_contents(np.array([1.0], ">f4")) == b"\x00\x00\x80\x3f"


def test_encoders_integers_travel_as_they_are(tmp_path: Path) -> None:
    def with_ids(document: Any) -> None:
        with_offload(document, None, "fp16")
        document["offload"]["inputs"].append({"tensor": "ids", "name": "ids", "dtype": "INT64"})

    m = ee.open_bundle(write_tiny_bundle(tmp_path, ids=True, edit=with_ids)).manifest
    assert m.offload is not None
    (image, encode_image), (ids, encode_ids) = encoders(m, m.offload.inputs)
    assert (image.dtype, encode_image(np.ones((1, 1, 4, 4), np.float32)).dtype) == ("FP16", np.float16)
    numbers = np.array([[1, 2**40, -3]])
    np.testing.assert_array_equal(encode_ids(numbers), numbers)
    assert (ids.dtype, datatype_of(encode_ids(numbers))) == ("INT64", "INT64")
