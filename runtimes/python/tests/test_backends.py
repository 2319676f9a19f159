"""The backend contract for every backend, and the choice of a backend."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from eetool_runtime.backends import Graph, Threads, backend_for, open_graph
from eetool_runtime.errors import BackendError, InputError, UsageError
from tests.helpers.backend_contract import FEED, GOLDEN, HAS_LITERT, BackendContract, X

OLD_NUMPY = np.__version__.startswith("1.")

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
        shutil.copyfile(GOLDEN / "contract.tflite", path)

    def test_run_other_batch_than_fixed_raises_input_error(self, graph: Graph) -> None:
        with pytest.raises(InputError, match=r"model.tflite: 'x' must be float32 \(1, 3\), not float32 \(2, 3\)"):
            graph.run({**FEED, "x": np.repeat(X, 2, 0)})

    def test_name_is_the_installed_library(self) -> None:
        assert self.backend.name in ("ai-edge-litert", "tflite-runtime")


class SharedFile:
    """A backend that opens the second graph of a file, whose first is another one."""

    def __init__(self) -> None:
        self._backend = backend_for("tflite")
        self.name, self.version, self.suffix = self._backend.name, self._backend.version, self._backend.suffix

    def open(self, path: Path, threads: Threads) -> Graph:
        return self._backend.open_shared(path, threads)["contract"]


@pytest.mark.skipif(not HAS_LITERT, reason="neither ai-edge-litert nor tflite-runtime is installed")
class TestLitertOfSharedFile(TestLitert):
    if HAS_LITERT:
        backend = SharedFile()

    def write(self, path: Path) -> None:
        shutil.copyfile(GOLDEN / "weighted_and_contract.tflite", path)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_open_shared_graphs_have_one_interpreter(self, path: Path, threads: int) -> None:
        graphs = backend_for("tflite").open_shared(path, Threads(threads))
        weighted, plain = graphs["weighted"], graphs["contract"]
        assert plain.group is weighted.group  # type: ignore[attr-defined]
        for _ in range(2):
            np.testing.assert_array_equal(plain.run(FEED)[0], [[2, 4, 6]])
            np.testing.assert_array_equal(weighted.run(FEED)[0], [[2, 40, 600]])
            np.testing.assert_array_equal(weighted.run({**FEED, "x": -X})[0], [[0, 0, 0]])

    def test_open_file_of_several_graphs_alone_raises_backend_error(self, path: Path) -> None:
        with pytest.raises(BackendError, match=r"cannot load this graph.*2 Signatures"):
            backend_for("tflite").open(path, Threads())

    def test_open_shared_concurrent_calls_of_two_graphs_are_serialized(self, path: Path) -> None:
        graphs, wrong = backend_for("tflite").open_shared(path, Threads(2)), []

        def work(graph: Graph, expected: list[float]) -> None:
            for number in range(1, 300):
                actual = graph.run({**FEED, "x": X * number})[0]
                if not np.array_equal(actual, np.array([expected], np.float32) * number):
                    wrong.append(actual)

        workers = [
            threading.Thread(target=work, args=(graphs[name], expected))
            for name, expected in [("contract", [2, 4, 6]), ("weighted", [2, 40, 600])] * 2
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert wrong == []


def test_open_graph_suffix_selects_backend(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path)
    scaled, _ = open_graph(path).run(FEED)
    np.testing.assert_array_equal(scaled, [[2, 4, 6]])


def test_backend_for_unknown_format_lists_known_formats() -> None:
    with pytest.raises(UsageError, match="no backend runs 'pt' graphs") as caught:
        open_graph(Path("model.pt"))
    assert caught.value.hint == "Known formats: onnx, tflite, tflm."


@pytest.mark.parametrize(
    ("graph_format", "module", "libraries"),
    [("onnx", "onnx", ["onnxruntime"]), ("tflite", "litert", ["ai_edge_litert", "tflite_runtime"])],
)
def test_backend_for_missing_library_hints_install_command(
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


def test_backend_for_tflite_runtime_with_numpy_2_raises_backend_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    monkeypatch.delitem(sys.modules, "eetool_runtime.backends.litert", raising=False)
    with pytest.raises(BackendError, match=r"tflite-runtime needs numpy 1, and numpy 2\.1\.0 is installed"):
        backend_for("tflite")
