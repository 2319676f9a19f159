"""Literals and names of C."""

import ctypes
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.microcontroller.source_names import adding_method, constant, identifier
from eetool.microcontroller.source_tables import at_least, number, quoted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", "digits"),
        ("My-Model.v2", "my_model_v2"),
        ("8bit", "model_8bit"),
        ("--", "model_"),
        ("int", "model_int"),
    ],
)
def test_identifier_is_one_of_c(name: str, expected: str) -> None:
    assert identifier(name) == expected


def test_constant_and_adding_method_follow_the_style_of_tflm() -> None:
    assert constant("seg0") == "kSeg0"
    methods = {
        "CONV_2D": "AddConv2D",
        "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
        "FULLY_CONNECTED": "AddFullyConnected",
        "BATCH_MATMUL": "AddBatchMatMul",
        "PADV2": "AddPadV2",
        "RELU6": "AddRelu6",
    }
    assert {op: adding_method(op) for op in methods} == methods


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_number_is_read_back_as_the_same_float32(value: float) -> None:
    text = number(value)
    assert text.endswith("f")
    assert struct.pack("f", ctypes.c_float(float(text[:-1])).value) == struct.pack("f", np.float32(value))
    assert "." in text or "e" in text  # `2f` is no literal of C


@given(st.floats(0, 2), st.floats(0, 1, width=32))
def test_at_least_decides_as_the_exact_threshold(threshold: float, confidence: float) -> None:
    assert (np.float32(confidence) >= at_least(threshold)) == (confidence >= threshold)


def test_quoted_escapes_what_c_would_not_take_literally() -> None:
    assert quoted('a "b" \\ ??/') == '"a \\042b\\042 \\134 \\077\\077/"'
    assert quoted("ü1") == '"\\303\\2741"'
