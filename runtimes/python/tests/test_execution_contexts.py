"""Execution contexts: bound arrays for fixed sizes, new arrays for others, one context for graphs of a group."""

from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.backends import Graph, Threads, backend_for
from eetool_runtime.errors import BackendError
from eetool_runtime.execution_contexts import ContextPool
from eetool_runtime.manifest import Input, Tensor
from eetool_runtime.testing import FakeGraph
from tests.helpers.backend_contract import FEED, GOLDEN, HAS_LITERT, X
from tests.helpers.tiny_bundle import image


@pytest.fixture
def model(tiny_bundle: Any) -> ee.Model:
    return ee.load(tiny_bundle)


def pool_of(model: ee.Model) -> ContextPool:
    return model._contexts


def test_acquire_released_context_is_reused(model: ee.Model) -> None:
    first = pool_of(model).acquire()
    pool_of(model).release(first)
    model(image(0, 2.0))
    assert pool_of(model).acquire() is first
    assert pool_of(model).acquire() is not first  # it is in use


def test_call_context_reused_earlier_result_is_unchanged(model: ee.Model) -> None:
    first = model(image(0, 2.0))
    logits = first.logits.copy()
    other = model(image(1, 2.0))
    np.testing.assert_array_equal(first.logits, logits)
    assert not np.array_equal(first.logits, other.logits)


def test_call_input_array_is_not_modified(model: ee.Model) -> None:
    x = image(0, 2.0)
    kept = x.copy()
    model(x)
    np.testing.assert_array_equal(x, kept)
    x[...] = image(1, 2.0)  # the same memory, another image
    np.testing.assert_array_equal(model(x).logits, model(image(1, 2.0)).logits)


def test_call_strided_input_equals_contiguous(model: ee.Model) -> None:
    x = image(0, 2.0)
    strided = np.repeat(x, 2, axis=-1)[..., ::2]
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(model(strided).logits, model(x).logits)


def test_call_failure_releases_context(model: ee.Model) -> None:
    context = pool_of(model).acquire()
    pool_of(model).release(context)

    def broken() -> None:
        raise BackendError("out of order")

    sound, context.calls[0] = context.calls[0], broken
    with pytest.raises(BackendError, match="out of order"):
        model(image(0, 2.0))
    context.calls[0] = sound
    assert model(image(0, 2.0)).exit == 0
    assert pool_of(model).acquire() is context


def test_call_many_threads_use_separate_contexts(model: ee.Model) -> None:
    wanted = {c: model(image(0, c)).logits for c in (0.25, 1.0, 2.0)}
    wrong: list[float] = []

    def work(contrast: float) -> None:
        for _ in range(100):
            if not np.array_equal(model(image(0, contrast)).logits, wanted[contrast]):
                wrong.append(contrast)

    workers = [threading.Thread(target=work, args=(c,)) for c in wanted for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert 1 <= len(pool_of(model)._free) <= len(workers)


@pytest.mark.parametrize(("size", "lengths"), [("length", (3, 5)), (3, (3, 3))], ids=["any", "fixed"])
def test_context_sizes_of_input_allocate_per_call(size: Any, lengths: tuple[int, ...]) -> None:
    x, y = Tensor("float32", ("batch", size)), Tensor("float32", ("batch", size))
    graph = FakeGraph({"x": x}, {"y": y}, lambda tensors: {"y": tensors["x"] * 2})
    variants = {"fake/fp32": SimpleNamespace(tensors={"y": y})}
    manifest: Any = SimpleNamespace(
        components=(), inputs=(Input("x", "float32", x.shape),), exits=(), tensors={}, variants=variants
    )
    context = ContextPool(manifest, "fake/fp32", [graph], {}).acquire()
    for length in lengths:
        context.enter({"x": np.ones((1, length), np.float32)})
        context.calls[0]()
        np.testing.assert_array_equal(context.read("y"), np.full((1, length), 2.0))


class TestGroup:
    """Two LiteRT graphs in one interpreter: the second reads outputs of the first."""

    pytestmark = pytest.mark.skipif(not HAS_LITERT, reason="LiteRT is not installed")

    @pytest.fixture
    def graphs(self) -> list[Graph]:
        opened = backend_for("tflite").open_shared(GOLDEN / "contract_and_answer.tflite", Threads())
        return [opened[name] for name in ("contract", "answer")]

    def pool(self, graphs: list[Graph], factor: float = 2.0) -> ContextPool:
        described = {**graphs[0].inputs, **graphs[0].outputs, **graphs[1].outputs}
        inputs = tuple(Input(name, described[name].dtype, described[name].shape) for name in ("x", "ids"))
        produced = {name: described[name] for name in ("scaled", "total", "logits", "confidence")}
        variants = {"tflite/fp32": SimpleNamespace(tensors=produced)}
        manifest: Any = SimpleNamespace(components=(), inputs=inputs, exits=(), tensors={}, variants=variants)
        return ContextPool(manifest, "tflite/fp32", graphs, {"factor": np.array(factor, np.float32)})

    def answer(self, pool: ContextPool, x: np.ndarray) -> list[np.ndarray]:
        context = pool.acquire()
        try:
            context.enter({"x": x, "ids": FEED["ids"]})
            for call in context.calls:
                call()
            return [context.read(name).copy() for name in ("scaled", "logits", "confidence")]
        finally:
            pool.release(context)

    def alone(self, pool: ContextPool, x: np.ndarray) -> np.ndarray:
        """Return the output of the first graph for `x`."""
        context = pool.acquire()
        try:
            context.enter({"x": x, "ids": FEED["ids"]})
            context.calls[0]()
            return context.read("scaled").copy()
        finally:
            pool.release(context)

    def expect(self, actual: list[np.ndarray], x: np.ndarray, factor: float = 2.0) -> None:
        logits = np.maximum(x * factor - FEED["ids"].sum() + factor, 0)
        for array, wanted in zip(actual, (x * factor, logits, logits.sum(1))):
            np.testing.assert_array_equal(array, wanted)

    def test_group_output_of_first_graph_is_input_of_second(self, graphs: list[Graph]) -> None:
        pool = self.pool(graphs)
        for x in (X, X * 4, -X, np.repeat(X * 5, 2, 1)[:, ::2]):
            self.expect(self.answer(pool, x), x)

    def test_group_other_contexts_do_not_interfere(self, graphs: list[Graph]) -> None:
        """Graphs run alone, and models with other temperatures, use the same interpreter."""
        pool, others = self.pool(graphs), self.pool(graphs, 3.0)
        for n in range(4, 7):
            self.expect(self.answer(pool, X * n), X * n)
            self.expect(self.answer(others, X * n), X * n, 3.0)
            graphs[0].run({**FEED, "factor": np.array(7, np.float32)})
            self.expect(self.answer(others, X * n), X * n, 3.0)
            graphs[1].run({"scaled": X, "total": np.zeros(1, np.float32), "factor": np.array(7, np.float32)})
            self.expect(self.answer(pool, X * n), X * n)

    def test_group_many_threads_return_correct_results(self, graphs: list[Graph]) -> None:
        pool, others, problems = self.pool(graphs), self.pool(graphs, 3.0), []

        def work(pool: ContextPool, factor: float, number: int) -> None:
            try:
                for _ in range(200):
                    self.expect(self.answer(pool, X * number), X * number, factor)
            except AssertionError as problem:
                problems.append(problem)

        workers = [
            threading.Thread(target=work, args=(used, factor, number))
            for number in range(1, 5)
            for used, factor in ((pool, 2.0), (others, 3.0))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert problems == []

    def test_group_undeclared_size_raises_backend_error(self, graphs: list[Graph]) -> None:
        first: Any = graphs[0]
        first.group.engine.ResizeInputTensor(
            first.input_indices["x"], np.array([2, 3], np.int32), False, first.subgraph
        )
        first.group.engine.AllocateTensors(first.subgraph)
        pool = self.pool(graphs)
        with pytest.raises(BackendError, match=r"'scaled' is \(2, 3\), not \(1, 3\)"):
            self.alone(pool, np.repeat(X, 2, 0))
        with pytest.raises(ValueError, match="Dimension mismatch"):  # which a model makes a BackendError of
            self.answer(pool, np.repeat(X, 2, 0))

    def test_group_unreferenced_is_freed_at_once(self, graphs: list[Graph]) -> None:
        pool = self.pool(graphs)
        self.answer(pool, X)
        group = weakref.ref(graphs[0].group)  # type: ignore[attr-defined]
        gc.disable()
        try:
            graphs.clear()
            del pool
            assert group() is None
        finally:
            gc.enable()

    def test_context_pool_graphs_of_different_groups_do_not_wait(self, graphs: list[Graph]) -> None:
        alone = backend_for("tflite").open(GOLDEN / "answer.tflite", Threads())
        pool = self.pool([graphs[0], alone])
        self.expect(self.answer(pool, X * 4), X * 4)
        first, second = pool.acquire(), pool.acquire()  # without waiting
        assert first is not second
