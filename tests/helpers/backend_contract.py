"""Tests that every backend must pass. The test class of a backend inherits them and writes its graphs."""

from __future__ import annotations

import gc
import importlib.util
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool_runtime.backends import PRIVATE, PROCESS, Backend, Graph, Threads
from eetool_runtime.errors import BackendError, InputError, UsageError

GOLDEN = Path(__file__).parent / "litert_graphs"  # made by make_litert_graphs.py
HAS_LITERT = bool(
    importlib.util.find_spec("ai_edge_litert")
    or (np.__version__.startswith("1.") and importlib.util.find_spec("tflite_runtime"))
)

X = np.array([[1.0, 2.0, 3.0]], np.float32)
IDS = np.array([[4, 5]], np.int64)
FACTOR = np.array(2.0, np.float32)
FEED = {"x": X, "ids": IDS, "factor": FACTOR}


class BackendContract:
    """Tests of a backend. Subclasses define `backend` and `write`; `batched` is True if any batch size runs.

    `ids_dtype` is the type of the input ids, where the engine cannot read int64.
    """

    backend: Backend
    batched = True
    ids_dtype: type[np.integer[Any]] = np.int64

    @property
    def feed(self) -> dict[str, np.ndarray]:
        """Inputs of the graph, in arrays of their own."""
        return {"x": X.copy(), "ids": IDS.astype(self.ids_dtype), "factor": FACTOR.copy()}

    def write(self, path: Path) -> None:
        """Write a graph with inputs x float32 (batch, 3), ids int64 (batch, 2) and factor float32 ().

        Its outputs are scaled = x * factor (batch, 3) and total = sum of ids as float32 (batch,).
        """
        raise NotImplementedError

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / f"model.{self.backend.suffix}"
        self.write(path)
        return path

    @pytest.fixture
    def graph(self, path: Path) -> Graph:
        return self.backend.open(path, Threads())

    def test_backend_has_name_version_and_suffix(self) -> None:
        assert self.backend.name
        assert self.backend.version
        assert self.backend.suffix.isalnum()

    def test_open_graph_describes_tensors_by_name(self, graph: Graph) -> None:
        assert {n: (t.dtype, len(t.shape), t.shape[1:]) for n, t in graph.inputs.items()} == {
            "x": ("float32", 2, (3,)),
            "ids": (np.dtype(self.ids_dtype).name, 2, (2,)),
            "factor": ("float32", 0, ()),
        }
        assert {n: (t.dtype, len(t.shape)) for n, t in graph.outputs.items()} == {
            "scaled": ("float32", 2),
            "total": ("float32", 1),
        }

    def test_run_outputs_are_in_order(self, graph: Graph) -> None:
        outputs = dict(zip(graph.outputs, graph.run(self.feed)))
        np.testing.assert_array_equal(outputs["scaled"], [[2, 4, 6]])
        np.testing.assert_array_equal(outputs["total"], [9])
        assert outputs["scaled"].dtype == outputs["total"].dtype == np.float32

    def test_run_inputs_are_bound_by_name(self, graph: Graph) -> None:
        reordered = dict(reversed(list(self.feed.items())))
        for here, there in zip(graph.run(self.feed), graph.run(reordered)):
            np.testing.assert_array_equal(here, there)

    def test_run_batch_where_supported_is_computed(self, graph: Graph) -> None:
        if not self.batched:
            pytest.skip("graphs of this format have a fixed batch")
        five = {"x": np.repeat(X, 5, 0), "ids": np.repeat(self.feed["ids"], 5, 0), "factor": FACTOR}
        outputs = dict(zip(graph.outputs, graph.run(five)))
        np.testing.assert_array_equal(outputs["scaled"], np.repeat([[2, 4, 6]], 5, 0))
        np.testing.assert_array_equal(outputs["total"], [9] * 5)

    def test_run_outputs_are_not_changed_by_next_run(self, graph: Graph) -> None:
        first = graph.run(self.feed)
        kept = [array.copy() for array in first]
        graph.run({**self.feed, "x": X * 100, "ids": self.feed["ids"] * 100})
        for array, copy in zip(first, kept):
            np.testing.assert_array_equal(array, copy)

    def test_run_inputs_are_not_modified(self, graph: Graph) -> None:
        x = X.copy()
        graph.run({**self.feed, "x": x})
        np.testing.assert_array_equal(x, X)

    def test_run_strided_input_is_read_correctly(self, graph: Graph) -> None:
        wide = np.arange(12, dtype=np.float32).reshape(2, 6)
        outputs = dict(zip(graph.outputs, graph.run({**self.feed, "x": wide[1:, ::2]})))
        np.testing.assert_array_equal(outputs["scaled"], [[12, 16, 20]])

    @pytest.mark.parametrize(
        "changes",
        [
            {"factor": None},
            {"more": X},
            {"x": X.astype(np.float64)},
            {"ids": IDS.astype(np.int16)},
            {"x": X[0]},
            {"x": X[:, :2]},
        ],
        ids=["missing", "surplus", "float64", "int16", "rank", "size"],
    )
    def test_run_wrong_feed_raises_input_error(self, graph: Graph, changes: dict[str, np.ndarray | None]) -> None:
        with pytest.raises(InputError, match=f"model.{self.backend.suffix}"):
            graph.run(_changed(self.feed, changes))
        assert len(graph.run(self.feed)) == 2  # and the graph still works

    def test_run_several_threads_return_correct_outputs(self, graph: Graph) -> None:
        wrong: list[object] = []

        def work(number: int) -> None:
            x = X * number
            for _ in range(200):
                outputs = dict(zip(graph.outputs, graph.run({**self.feed, "x": x})))
                if not np.array_equal(outputs["scaled"], x * 2):
                    wrong.append(outputs["scaled"])

        workers = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert wrong == []

    def test_bind_call_reads_and_writes_in_place(self, graph: Graph) -> None:
        inputs = {name: array.copy() for name, array in self.feed.items()}
        outputs = {"total": np.zeros(1, np.float32), "scaled": np.zeros((1, 3), np.float32)}
        call, read = graph.bind(inputs, outputs)
        call()
        np.testing.assert_array_equal(outputs["scaled"], [[2, 4, 6]])
        inputs["x"][...], inputs["factor"][...] = X + 1, 10
        call()
        np.testing.assert_array_equal(outputs["scaled"], [[20, 30, 40]])
        np.testing.assert_array_equal(outputs["total"], [9])
        read("x", X * 2)
        call()
        np.testing.assert_array_equal(outputs["scaled"], [[20, 40, 60]])

    def test_bind_read_arrays_are_not_modified(self, graph: Graph) -> None:
        asked, scaled = [X * n for n in range(3)], np.zeros((1, 3), np.float32)
        call, read = graph.bind({**self.feed, "x": X.copy()}, {"scaled": scaled, "total": np.zeros(1, np.float32)})
        for n in (2, 0, 1, 2):
            read("x", asked[n])
            call()
            np.testing.assert_array_equal(scaled, X * n * 2)
        for n, array in enumerate(asked):
            np.testing.assert_array_equal(array, X * n)

    def test_bind_call_keeps_arrays_alive(self, path: Path) -> None:
        inputs = {name: array.copy() for name, array in self.feed.items()}
        outputs = {"scaled": np.zeros((1, 3), np.float32), "total": np.zeros(1, np.float32)}
        call, read = self.backend.open(path, Threads()).bind(inputs, outputs)
        read("x", X * 3)
        alive, scaled = weakref.ref(outputs["total"]), outputs["scaled"]
        del inputs, outputs, read
        gc.collect()
        assert alive() is not None  # else the call would write into freed memory
        call()
        np.testing.assert_array_equal(scaled, [[6, 12, 18]])

    def test_bind_several_threads_return_correct_outputs(self, graph: Graph) -> None:
        wrong: list[object] = []

        def work(number: int) -> None:
            scaled = np.zeros((1, 3), np.float32)
            call, _ = graph.bind({**self.feed, "x": X * number}, {"scaled": scaled, "total": np.zeros(1, np.float32)})
            for _ in range(200):
                scaled[...] = 0
                call()
                if not np.array_equal(scaled, X * number * 2):
                    wrong.append(scaled.copy())

        workers = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert wrong == []

    @pytest.mark.parametrize(
        ("changes", "outputs"),
        [
            ({"factor": None}, {}),
            ({"more": X}, {}),
            ({"x": X.astype(np.float64)}, {}),
            ({"x": X[:, :2]}, {}),
            ({"x": np.repeat(X, 2, 1)[:, ::2]}, {}),
            ({}, {"scaled": np.zeros((1, 4), np.float32)}),
            ({}, {"total": np.zeros(1, np.int64)}),
            ({}, {"more": X}),
        ],
        ids=["missing", "surplus", "dtype", "size", "stride", "output-size", "output-dtype", "output-surplus"],
    )
    def test_bind_wrong_arrays_raise_input_error(
        self, graph: Graph, changes: dict[str, np.ndarray | None], outputs: dict[str, np.ndarray]
    ) -> None:
        produced = {"scaled": np.zeros((1, 3), np.float32), "total": np.zeros(1, np.float32)}
        with pytest.raises(InputError, match=f"model.{self.backend.suffix}"):
            graph.bind(_changed(self.feed, changes), {**produced, **outputs})

    def test_threads_in_use_are_reported(self, path: Path) -> None:
        assert self.backend.open(path, Threads(1, PRIVATE)).threads == Threads(1, PRIVATE)
        assert self.backend.open(path, Threads(2, PRIVATE)).threads == Threads(2, PRIVATE)
        assert self.backend.open(path, Threads(1, PROCESS)).threads == Threads(1, PRIVATE)  # one needs no pool

    @pytest.mark.parametrize("threads", [Threads(0), Threads(-1), Threads(1, "public")])
    def test_open_impossible_threads_raises_usage_error(self, path: Path, threads: Threads) -> None:
        with pytest.raises(UsageError):
            self.backend.open(path, threads)

    @pytest.mark.parametrize("data", [b"", b"not a graph", bytes(1000)])
    def test_open_invalid_file_raises_backend_error(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / f"bad.{self.backend.suffix}"
        path.write_bytes(data)
        with pytest.raises(BackendError, match=rf"bad\.{self.backend.suffix}"):
            self.backend.open(path, Threads())

    def test_open_absent_file_raises_backend_error(self, tmp_path: Path) -> None:
        with pytest.raises(BackendError, match="absent"):
            self.backend.open(tmp_path / f"absent.{self.backend.suffix}", Threads())


def _changed(feed: dict[str, np.ndarray], changes: dict[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Return the feed with other arrays, and without those that are None."""
    return {name: array for name, array in {**feed, **changes}.items() if array is not None}
