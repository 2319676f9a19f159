"""Signatures of TFLite files: names, types and quantisation, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime.manifest import Tensor
from eetool_runtime.tflite_signature import Quantization, declared_types, read_signature
from tests.helpers.backend_contract import GOLDEN
from tests.helpers.tflm_bundle import TFLM_GRAPHS

QUANTIZATIONS = st.builds(
    Quantization,
    st.floats(2**-20, 2**10, width=32),
    st.integers(-128, 127),
)


@given(QUANTIZATIONS)
def test_quantize_every_integer_comes_back(quantization: Quantization) -> None:
    integers = np.arange(-128, 128, dtype=np.int8)
    np.testing.assert_array_equal(quantization.quantize(quantization.dequantize(integers)), integers)


@given(QUANTIZATIONS, st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9))
def test_quantize_value_in_range_is_half_a_step_off_at_most(quantization: Quantization, values: list[float]) -> None:
    ends = quantization.dequantize(np.array([-128, 127], np.int8))
    given_values = np.clip(np.array(values, np.float32), *ends)
    error = np.abs(quantization.dequantize(quantization.quantize(given_values)) - given_values)
    assert (error <= quantization.scale * 0.5001 + 1e-6 * np.abs(given_values)).all()


def test_quantize_halves_are_rounded_away_from_zero_and_ends_are_kept() -> None:
    quantization = Quantization(2.0, 3)
    values = np.array([1.0, -1.0, 3.0, -3.0, 1e9, -1e9], np.float32)
    assert quantization.quantize(values).tolist() == [4, 2, 5, 1, 127, -128]


def test_read_signature_float_file_has_names_types_and_positions() -> None:
    signature = read_signature((GOLDEN / "contract.tflite").read_bytes())
    assert {name: stored.tensor for name, stored in signature.inputs.items()} == {
        "x": Tensor("float32", (1, 3)),
        "ids": Tensor("int64", (1, 2)),
        "factor": Tensor("float32", ()),
    }
    assert sorted(stored.position for stored in signature.inputs.values()) == [0, 1, 2]
    assert all(stored.quantization is None for stored in signature.outputs.values())


def test_read_signature_int8_file_has_one_scale_per_tensor() -> None:
    signature = read_signature((TFLM_GRAPHS / "segment0.tflm").read_bytes())
    (stored,) = signature.outputs.values()
    assert stored.tensor.dtype == "int8"
    assert stored.quantization is not None
    head = read_signature((TFLM_GRAPHS / "exit0.tflm").read_bytes())
    assert head.inputs["segment0_out"].quantization == stored.quantization
    assert declared_types(signature.outputs) == {"segment0_out": Tensor("float32", stored.tensor.shape)}


def test_read_signature_other_files_raise_value_error() -> None:
    with pytest.raises(ValueError, match="no TFLite header"):
        read_signature(b"not a graph")
    with pytest.raises(ValueError, match="2 signatures"):
        read_signature((GOLDEN / "contract_and_answer.tflite").read_bytes())
    whole = (GOLDEN / "contract.tflite").read_bytes()
    for size in range(8, len(whole), 97):
        try:
            read_signature(whole[:size])
        except ValueError:
            continue
