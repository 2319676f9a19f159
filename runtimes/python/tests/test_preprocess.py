"""Conversion of raw inputs, and checks of input arrays."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime.errors import InputError
from eetool_runtime.manifest import Input, Preprocess
from eetool_runtime.preprocess import (
    check_array,
    check_symbols,
    has_shared_symbols,
    normalise,
    preprocess,
    preprocess_all,
)
from tests.helpers.tiny_bundle import image, pixels

RULE = Preprocess(1 / 255, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
COLOUR = Input("image", "float32", ("batch", 3, 2, 4), RULE)
GREY = Input("image", "float32", ("batch", 1, 2, 4), Preprocess(1 / 255, (0.0,), (1.0,)))
BARE = Input("features", "float32", ("batch", 3))
TEXT = Input("ids", "int64", ("batch", "tokens"))


def test_preprocess_pixels_become_channels_first() -> None:
    raw = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    actual = preprocess(raw, COLOUR)
    assert actual.shape == (1, 3, 2, 4)
    assert actual.dtype == np.float32
    assert actual.flags.c_contiguous
    for c in range(3):
        wanted = (raw[:, :, c] / 255 - RULE.mean[c]) / RULE.std[c]
        np.testing.assert_allclose(actual[0, c], wanted, rtol=1e-5, atol=1e-6)


def test_preprocess_grey_pixels_without_channel_axis_are_accepted() -> None:
    raw = np.full((2, 4), 255, np.uint8)
    np.testing.assert_array_equal(preprocess(raw, GREY), np.ones((1, 1, 2, 4)))
    np.testing.assert_array_equal(preprocess(raw[:, :, None], GREY), np.ones((1, 1, 2, 4)))


def test_preprocess_tiny_pixels_equal_image() -> None:
    spec = Input("input", "float32", ("batch", 1, 4, 4), Preprocess(1 / 64, (0.5,), (0.5,)))
    np.testing.assert_array_equal(preprocess(pixels(2, 1.5), spec), image(2, 1.5))


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_normalise_batch_equals_single_images(n: int, seed: int) -> None:
    batch = np.random.default_rng(seed).integers(0, 256, (n, 3, 2, 4), np.uint8)
    whole = normalise(batch, COLOUR)
    for one, raw in zip(whole, batch):
        np.testing.assert_array_equal(one, preprocess(raw.transpose(1, 2, 0), COLOUR)[0])


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((2, 4, 3), np.float32),
        np.zeros((4, 2, 3), np.uint8),
        np.zeros((2, 4), np.uint8),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((1, 2, 4, 3), np.uint8),
    ],
    ids=["float", "turned", "grey", "alpha", "batch"],
)
def test_preprocess_pixels_of_other_shape_raise_input_error(raw: Any) -> None:
    with pytest.raises(InputError, match=r"input 'image': expected raw pixels uint8 \(2, 4, 3\), found "):
        preprocess(raw, COLOUR)


@pytest.mark.parametrize("function", [preprocess, normalise])
def test_normalise_without_rule_names_expected_input(function: Any) -> None:
    with pytest.raises(InputError, match=r"holds no preprocessing; give a finished float32 \(batch, 3\)"):
        function(np.zeros(3, np.uint8), BARE)


def test_check_array_matching_array_is_returned() -> None:
    x = np.zeros((1, 3), np.float32)
    assert check_array(x, BARE) is x
    assert check_array(np.zeros((5, 3), np.float32), BARE, any_batch=True).shape == (5, 3)
    assert check_array(np.zeros((1, 9), np.int64), TEXT).shape == (1, 9)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0, 3.0]], r"expected a numpy array float32 \(batch, 3\), found list"),
        (None, "found NoneType"),
        (np.zeros((1, 3)), "expected float32, found float64"),
        (np.zeros((1, 3), np.uint8), "expected float32, found uint8"),
        (np.zeros((1, 3), ">f4"), "expected float32, found >f4"),
        (np.zeros((1, 3), object), "expected float32, found object"),
        (np.zeros(3, np.float32), r"expected shape float32 \(batch, 3\), found \(3,\)"),
        (np.zeros((1, 4), np.float32), r"found \(1, 4\)"),
        (np.zeros((2, 3), np.float32), r"found \(2, 3\)"),
        (np.zeros((0, 3), np.float32), r"found \(0, 3\)"),
        (np.array([[1, np.nan, 3]], np.float32), "holds NaN or infinite values"),
        (np.array([[1, np.inf, 3]], np.float32), "holds NaN or infinite values"),
        (np.array([[-np.inf, np.inf, 3]], np.float32), "holds NaN or infinite values"),
    ],
)
def test_check_array_other_array_raises_input_error(x: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^input 'features': .*{message}"):
        check_array(x, BARE)


def test_check_array_raw_pixels_hint_preprocess() -> None:
    with pytest.raises(InputError) as caught:
        check_array(np.zeros((1, 3), np.uint8), BARE)
    assert "preprocess" in (caught.value.hint or "")


def test_is_finite_overflowing_sum_returns_true() -> None:
    assert check_array(np.full((1, 3), 3e38, np.float32), BARE) is not None


def test_check_symbols_twice_in_one_input_must_agree() -> None:
    square = Input("graph", "float32", ("batch", "nodes", "nodes"))
    assert has_shared_symbols([square])
    assert has_shared_symbols([BARE, TEXT])
    assert not has_shared_symbols([TEXT])
    with pytest.raises(InputError, match="input 'graph': 'nodes' is 4 here and 3 in input 'graph'"):
        check_symbols({"graph": np.zeros((1, 3, 4), np.float32)}, [square])


@pytest.mark.parametrize(
    ("a", "b", "problem"),
    [
        ((1, 5), (1, 5), None),
        ((3, 5), (3, 5), None),
        ((1, 5), (1, 6), "input 'mask': 'tokens' is 6 here and 5 in input 'ids'"),
        ((2, 5), (3, 5), "input 'mask': 'batch' is 3 here and 2 in input 'ids'"),
    ],
)
def test_check_symbols_two_sizes_raise_input_error(
    a: tuple[int, int], b: tuple[int, int], problem: Optional[str]
) -> None:
    specs = [TEXT, Input("mask", "int64", ("batch", "tokens"))]
    arrays = {"ids": np.zeros(a, np.int64), "mask": np.zeros(b, np.int64)}
    if problem is None:
        check_symbols(arrays, specs)
    else:
        with pytest.raises(InputError, match=f"^{problem}$"):
            check_symbols(arrays, specs)


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (np.zeros((3, 2, 4), np.uint8), "Channels come last"),
        (np.zeros((1, 2, 4, 3), np.uint8), "one image at a time"),
        (np.zeros((2, 4, 3), np.float32), "Raw pixels are uint8"),
        (np.zeros((2, 4), np.uint8), "takes 3 channels"),
        (np.zeros((4, 8, 3), np.uint8), "no rule of resizing: scale the image to 4 x 2"),
    ],
)
def test_preprocess_wrong_image_has_hint(raw: np.ndarray, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        preprocess(raw, COLOUR)
    assert hint in (caught.value.hint or "")


def test_preprocess_all_inputs_are_converted_by_name() -> None:
    raw = {"image": np.zeros((2, 4, 3), np.uint8), "ids": [3, 1, 2]}
    actual = preprocess_all(raw, [COLOUR, TEXT])
    np.testing.assert_array_equal(actual["ids"], np.array([[3, 1, 2]], np.int64))
    assert actual["ids"].dtype == np.int64
    assert actual["image"].shape == (1, 3, 2, 4)
    with pytest.raises(InputError, match=r"expected inputs \['image', 'ids'\], found \['image'\]"):
        preprocess_all({"image": raw["image"]}, [COLOUR, TEXT])
    with pytest.raises(InputError, match="the model has 2 inputs; give a dict"):
        preprocess_all(raw["image"], [COLOUR, TEXT])
    np.testing.assert_array_equal(preprocess_all([1.5, 2, 3], [BARE]), np.array([[1.5, 2, 3]], np.float32))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1.5, 2.0], r"expected int64 \(batch, tokens\), found float64 \(2,\)"),
        (["a", "b"], r"expected int64 \(batch, tokens\), found <U1 \(2,\)"),
        ([[1], [2, 3]], "found lists of different lengths"),
        (np.zeros(3, np.int32), r"give a finished int64 \(batch, tokens\), not int32"),
        ([[1, 2], [3, 4]], r"expected shape int64 \(batch, tokens\), found \(2, 2\)"),
        ([], "expected int64"),
    ],
)
def test_preprocess_ids_of_other_form_raise_input_error(raw: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^input 'ids': .*{message}"):
        preprocess(raw, TEXT)
