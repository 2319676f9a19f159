"""The contract, for every backend there is; and how a backend is found."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from contract import FEED, BackendContract, X

from eetool_runtime.backends import Graph, backend_for, open_graph
from eetool_runtime.errors import BackendError, InputError, UsageError

GOLDEN = Path(__file__).parent / "golden" / "contract.tflite"  # made by make_tflite.py

OLD_NUMPY = np.__version__.startswith("1.")
HAS_LITERT = bool(
    importlib.util.find_spec("ai_edge_litert") or (OLD_NUMPY and importlib.util.find_spec("tflite_runtime"))
)

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


@pytest.mark.skipif(not HAS_LITERT, reason="neither ai-edge-litert nor tflite-runtime is installed")
class TestLitert(BackendContract):
    batched = False
    if HAS_LITERT:
        backend = backend_for("tflite")

    def write(self, path: Path) -> None:
        shutil.copyfile(GOLDEN, path)

    def test_a_graph_of_fixed_batch_refuses_others(self, graph: Graph) -> None:
        with pytest.raises(InputError, match=r"model.tflite: 'x' must be float32 \(1, 3\), not float32 \(2, 3\)"):
            graph.run({**FEED, "x": np.repeat(X, 2, 0)})

    def test_it_says_which_library_it_is(self) -> None:
        assert self.backend.name in ("ai-edge-litert", "tflite-runtime")


def test_the_suffix_of_a_bare_graph_names_its_backend(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path)
    scaled, _ = open_graph(path).run(FEED)
    np.testing.assert_array_equal(scaled, [[2, 4, 6]])


def test_an_unknown_format_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no backend runs 'pt' graphs") as caught:
        open_graph(Path("model.pt"))
    assert caught.value.hint == "Known formats: onnx, tflite."


@pytest.mark.parametrize(
    ("graph_format", "module", "libraries"),
    [("onnx", "onnx", ["onnxruntime"]), ("tflite", "litert", ["ai_edge_litert", "tflite_runtime"])],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    graph_format: str, module: str, libraries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in libraries:
        monkeypatch.setitem(sys.modules, library, None)  # makes the import fail
    monkeypatch.delitem(sys.modules, f"eetool_runtime.backends.{module}", raising=False)
    with pytest.raises(
        BackendError, match=f"the {graph_format} backend needs {libraries[0].replace('_', '-')}"
    ) as caught:
        backend_for(graph_format)
    assert caught.value.hint == f"pip install eetool-runtime[{graph_format}]"


def test_the_older_package_beside_a_newer_numpy_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    monkeypatch.delitem(sys.modules, "eetool_runtime.backends.litert", raising=False)
    with pytest.raises(BackendError, match=r"tflite-runtime needs numpy 1, and numpy 2\.1\.0 is installed"):
        backend_for("tflite")
