"""Cost per exit of a single file with nested conditionals."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from eetool.export.single_file.nested_if import ConditionalStage, nest_stages
from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.latency.estimate.predictor import predict
from tests.helpers.latency_tables import predictor as make_predictor
from tests.helpers.onnx_graphs import model, save

STAGE = """<ir_version: 8, opset_import: ["" : 18]>
stage (float[1,16,8,8] {before})
    => (float[1,10] {name}_logits, float[1] {name}_confidence, float[1,16,8,8] {name}_out) {{
    {name}_c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> ({before}, {name}_w)
    {name}_out = Relu ({name}_c)
    {name}_g = GlobalAveragePool ({name}_out)
    {name}_f = Flatten ({name}_g)
    {name}_logits = Gemm <transB=1> ({name}_f, {name}_v)
    {name}_confidence = ReduceMax <keepdims=0> ({name}_logits, {name}_axes)
}}"""


def stage(name: str, before: str) -> ConditionalStage:
    shapes = {f"{name}_w": (16, 16, 3, 3), f"{name}_v": (10, 16)}
    made = model(STAGE.format(name=name, before=before), shapes, **{f"{name}_axes": [1]})
    return ConditionalStage((made.graph,), f"{name}_logits", f"{name}_confidence")


@pytest.fixture
def single(tmp_path: Path) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])
    graph = nest_stages([stage("a", "x"), stage("b", "a_out"), stage("c", "b_out")], [x], 10)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made)
    return save(made, tmp_path / "single.onnx")


def test_predict_single_file_exit_costs_all_stages_before_it(single: Path) -> None:
    predictor = make_predictor()
    prediction = predict(target_of_variant(single, "onnx/fp32", predictor.channel_block), predictor)
    assert [graph.name for graph in prediction.graphs] == ["leaving at 0", "leaving at 1", "leaving at 2"]
    assert [at.exit for at in prediction.exits] == [0, 1, 2]
    one = 16 * 16 * 9 * 64 + 160
    assert [at.macs for at in prediction.exits] == [one, 2 * one, 3 * one]
    assert prediction.exits[0].latency_ms < prediction.exits[1].latency_ms < prediction.exits[2].latency_ms
    assert not [w for w in prediction.warnings if "If" in w]
