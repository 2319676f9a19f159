"""Extraction of subgraphs and shortening of names."""

import numpy as np
import onnx
import onnx.parser
from onnx.reference import ReferenceEvaluator

from eetool.graphs.onnx_normalize import extract_subgraph
from eetool.graphs.onnx_rename import shorten_onnx

TEXT = """<ir_version: 8, opset_import: ["" : 18]>
g (float[batch, 2] x, float t) => (float[batch, 2] first, float[batch, 2] last, float[batch, 2] scaled)
<float two = {2}, float three = {3}> {
    first = Mul (x, two)
    a_long_name_inside = Mul (first, three)
    last = Relu (a_long_name_inside)
    scaled = Div (last, t)
}"""
X = np.array([[1.0, -1.0]], np.float32)


def test_extract_subgraph_one_output_keeps_only_its_nodes() -> None:
    whole = onnx.parser.parse_model(TEXT)
    cut = extract_subgraph(whole, "last", "logits")
    onnx.checker.check_model(cut)
    assert [value.name for value in cut.graph.input] == ["x"]
    assert [value.name for value in cut.graph.output] == ["logits"]
    assert [node.op_type for node in cut.graph.node] == ["Mul", "Mul", "Relu"]
    np.testing.assert_array_equal(ReferenceEvaluator(cut).run(None, {"x": X})[0], [[6, 0]])
    assert len(whole.graph.node) == 4  # the model is not changed


def test_extract_subgraph_drops_unused_weights() -> None:
    cut = extract_subgraph(onnx.parser.parse_model(TEXT), "first", "logits")
    assert [weight.name for weight in cut.graph.initializer] == ["two"]


def test_shorten_onnx_keeps_interface_and_outputs() -> None:
    model = onnx.parser.parse_model(TEXT)
    feed = {"x": X, "t": np.array(2, np.float32)}
    before = ReferenceEvaluator(model).run(None, feed)
    size = model.ByteSize()
    shorten_onnx(model)
    onnx.checker.check_model(model)
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["x", "t", "first", "last", "scaled"]
    assert model.ByteSize() < size
    for expected, actual in zip(before, ReferenceEvaluator(model).run(None, feed), strict=True):
        np.testing.assert_array_equal(expected, actual)
