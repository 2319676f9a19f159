"""Operators of TFLM: what lacks is named, and what computes in floats."""

from dataclasses import replace

import pytest

from eetool.graphs.quantize_full_integer import stored_quantization
from eetool.graphs.tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor, can_read_tflite, read_tflite
from eetool.graphs.tflm_operators import INT8_OPERATORS, OPERATORS, float_operators, lacking_operator
from tests.helpers.backend_contract import GOLDEN
from tests.helpers.tflm_bundle import TFLM_GRAPHS

needs_schema = pytest.mark.skipif(not can_read_tflite(), reason="ai-edge-litert is not installed")


def graph_of(*operators: str, kind: str = "INT8") -> TfliteGraph:
    tensors = tuple(TfliteTensor((1, 4), kind == "INT8", False, (), kind) for _ in range(len(operators) + 1))
    operations = tuple(TfliteOperator(op, (i,), (i + 1,), {}) for i, op in enumerate(operators))
    return TfliteGraph(operations, tensors, (len(operators),))


def test_lacking_operator_is_the_first_with_what_may_replace_it() -> None:
    assert (
        lacking_operator(graph_of("CONV_2D", "GELU", "ERF"))
        == "TFLM has no operator GELU; use ReLU6 or Hardswish there"
    )
    assert lacking_operator(graph_of("CONV_2D", "RFFT2D")) == "TFLM has no operator RFFT2D"


def test_lacking_operator_of_known_operators_is_none() -> None:
    assert lacking_operator(graph_of(*sorted(OPERATORS))) is None
    assert INT8_OPERATORS < OPERATORS


def test_float_operators_are_listed_once_without_conversions() -> None:
    assert float_operators(graph_of("RELU6", "RELU6", "SQRT", kind="FLOAT32")) == ("RELU6", "SQRT")
    graph = graph_of("DEQUANTIZE", "SQRT", "QUANTIZE")
    floats = (graph.tensors[0], *(replace(t, int8=False, kind="FLOAT32") for t in graph.tensors[1:3]), graph.tensors[3])
    assert float_operators(replace(graph, tensors=floats)) == ("SQRT",)
    assert float_operators(graph) == ()


@needs_schema
def test_full_integer_file_has_no_float_tensor() -> None:
    for path in TFLM_GRAPHS.glob("*.tflm"):
        graph = read_tflite(path)
        assert {tensor.kind for tensor in graph.tensors} <= {"INT8", "INT32"}
        assert lacking_operator(graph) is None


def test_stored_quantization_is_equal_on_both_sides_of_a_boundary() -> None:
    made, read = (stored_quantization(TFLM_GRAPHS / f"{name}.tflm", "segment0_out") for name in ("segment0", "exit1"))
    assert made == read
    with pytest.raises(ValueError, match="scaled is float32 and not int8"):
        stored_quantization(GOLDEN / "contract.tflite", "scaled")
