"""Outputs of graphs are checked against the manifest in every kind of call."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import onnx.parser
import pytest

import eetool_runtime as ee
from eetool_runtime.backends import Threads, open_graph
from eetool_runtime.component_call import run_component
from eetool_runtime.errors import BackendError
from eetool_runtime.manifest import Tensor
from eetool_runtime.testing import FakeGraph
from tests.helpers.tiny_bundle import VARIANT, image, write_tiny_bundle

X = np.concatenate([image(0, 2.0)] * 3)
TWENTY = """wide = Concat <axis = 1> (rows, rows, rows, rows, rows)
    numbers = Constant <value = int64[20] {{{zeros}}}> ()
    all = Equal (numbers, numbers)
    exit0_logits = Compress <axis = 1> (wide, all)
    exit0_confidence = Identity (largest)""".format(zeros=", ".join("0" * 20))
NONE_LEFT = "exit0_logits = Identity (rows)\nnone = Less (largest, least)\nexit0_confidence = Compress (largest, none)"
ONE_MORE = "exit0_logits = Concat <axis = 0> (rows, rows)\nexit0_confidence = Identity (largest)"
# Its sizes are symbols, which match every size of a manifest; only its outputs reveal the difference.
LIAR = """<ir_version: 8, opset_import: ["" : 18]>
exit0 (float[batch,1,4,4] features0, float exit0_temperature)
=> (float[any,wide] exit0_logits, float[n] exit0_confidence)
{{
    axes = Constant <value = int64[2] {{1, 3}}> ()
    rows = ReduceMean <keepdims = 0> (features0, axes)
    class_axis = Constant <value = int64[1] {{1}}> ()
    highest = ReduceMax <keepdims = 0> (rows, class_axis)
    largest = Div (highest, exit0_temperature)
    least = Constant <value_float = 0.0> ()
    {nodes}
}}"""

CALLS: dict[str, Callable[[ee.Model], object]] = {
    "call": lambda model: model(X[:1]),
    "deadline_ms": lambda model: model(X[:1], deadline_ms=1e6),
    "batch": lambda model: model.batch(X),
    "every_exit": lambda model: model.every_exit(X),
}


def lying(folder: Path, nodes: str, **tweaks: Any) -> ee.Model:
    """Return the tiny model with another graph for its first exit."""
    sound = ee.load(write_tiny_bundle(folder, **tweaks))
    sound.use(threshold=0.5)
    path = folder / "liar.onnx"
    path.write_bytes(onnx.parser.parse_model(LIAR.format(nodes=nodes)).SerializeToString())
    model = ee.Model(sound.bundle, VARIANT, {**sound._graphs, "exit0": open_graph(path)}, Threads())
    model.use(threshold=0.5)
    return model


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("nodes", [TWENTY, NONE_LEFT, ONE_MORE], ids=["20 logits", "no confidence", "a row too many"])
def test_call_graph_with_undeclared_shape_raises_backend_error(
    tmp_path: Path, nodes: str, call: Callable[[ee.Model], object]
) -> None:
    with pytest.raises(BackendError, match=r"exit0_(logits|confidence)|[Ss]hape"):
        call(lying(tmp_path, nodes))


@pytest.mark.parametrize("fixed", [False, True], ids=["any batch", "batch 1"])
def test_every_exit_graph_with_undeclared_shape_names_tensor(tmp_path: Path, fixed: bool) -> None:
    def fix(document: dict[str, Any]) -> None:
        document["variants"][VARIANT]["batch"] = 1 if fixed else None

    rows = 1 if fixed else 3
    message = rf"'exit0_logits' is float32 \({rows}, 20\), not float32 \(batch, 4\); the batch has {rows} inputs"
    with pytest.raises(BackendError, match=message):
        lying(tmp_path, TWENTY, edit=fix).every_exit(X)


def run_graph(shape: tuple[int, ...], declared: tuple[Any, ...], rows: int, dtype: str = "float32") -> np.ndarray:
    """Return the tensor that `run_component` adds for an output of `shape` and the type `declared`."""
    tensors: dict[str, np.ndarray] = {}
    graph = FakeGraph({}, {"y": Tensor(dtype, declared)}, lambda _: {"y": np.zeros(shape)})
    run_component(graph, tensors, {"y": Tensor("float32", declared)}, rows)
    return tensors["y"]


@pytest.mark.parametrize(
    ("shape", "declared"),
    [((3, 4), ("batch", 4)), ((3, 7), ("batch", "tokens")), ((), ()), ((7, 3), ("tokens", "batch"))],
)
def test_run_component_matching_shape_is_added(shape: tuple[int, ...], declared: tuple[Any, ...]) -> None:
    assert run_graph(shape, declared, rows=3).shape == shape


@pytest.mark.parametrize(
    ("shape", "declared"),
    [((2, 4), ("batch", 4)), ((3, 5), ("batch", 4)), ((3,), ("batch", 4)), ((3, 4, 1), ("batch", 4)), ((1,), ())],
)
def test_run_component_other_shape_raises_backend_error(shape: tuple[int, ...], declared: tuple[Any, ...]) -> None:
    with pytest.raises(BackendError, match="'y' is float32"):
        run_graph(shape, declared, rows=3)


def test_run_component_other_dtype_raises_backend_error() -> None:
    with pytest.raises(BackendError, match="'y' is float64"):
        run_graph((3,), ("batch",), rows=3, dtype="float64")
