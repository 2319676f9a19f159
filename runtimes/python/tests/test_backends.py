"""The contract, for every backend there is; and how a backend is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from contract import FEED, BackendContract

from eetool_runtime.backends import backend_for, open_graph
from eetool_runtime.errors import BackendError, UsageError

GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
graph (float[batch, 3] x, int64[batch, 2] ids, float factor) => (float[batch, 3] scaled, float[batch] total)
<int64[1] axis = {1}> {
    scaled = Mul (x, factor)
    numbers = Cast <to = 1> (ids)
    total = ReduceSum <keepdims = 0> (numbers, axis)
}
"""


def write_graph(path: Path) -> None:
    path.write_bytes(onnx.parser.parse_model(GRAPH).SerializeToString())


class TestOnnx(BackendContract):
    backend = backend_for("onnx")

    def write(self, path: Path) -> None:
        write_graph(path)


def test_the_suffix_of_a_bare_graph_names_its_backend(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path)
    scaled, _ = open_graph(path).run(FEED)
    np.testing.assert_array_equal(scaled, [[2, 4, 6]])


def test_an_unknown_format_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no backend runs 'pt' graphs") as caught:
        open_graph(Path("model.pt"))
    assert caught.value.hint == "Known formats: onnx."


def test_a_missing_library_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # makes the import fail
    monkeypatch.delitem(sys.modules, "eetool_runtime.backends.onnx")
    with pytest.raises(BackendError, match="the onnx backend needs onnxruntime") as caught:
        backend_for("onnx")
    assert caught.value.hint == "pip install eetool-runtime[onnx]"
