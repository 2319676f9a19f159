"""Fake graphs pass the backend contract, and a scripted model behaves as a loaded one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.backends import PRIVATE, PROCESS, Threads
from eetool_runtime.errors import BackendError, InputError, UsageError
from eetool_runtime.manifest import Tensor
from eetool_runtime.testing import FakeClock, FakeGraph, ScriptedAnswer, scripted
from tests.helpers.backend_contract import BackendContract
from tests.helpers.tiny_bundle import LABELS, POINTS, image

X = np.zeros((1, 3, 32, 32), np.float32)
CAT, DOG = ScriptedAnswer("cat", exit=0), ScriptedAnswer("dog", exit=2, confidence=0.7)


def scaled_and_total(feed: Any) -> dict[str, np.ndarray]:
    return {"scaled": feed["x"] * feed["factor"], "total": feed["ids"].sum(1)}


class FakeBackend:
    """A backend for `.fake` files, which hold the name of one of `graphs`."""

    name = "fake"
    version = "1"
    suffix = "fake"

    def __init__(self, graphs: Mapping[str, FakeGraph]) -> None:
        self._graphs = graphs

    def open(self, path: Path, threads: Threads) -> FakeGraph:
        """Return the graph that the file at `path` names."""
        if threads.pool not in (PRIVATE, PROCESS):
            raise UsageError(f"unknown pool {threads.pool!r}", f"Known pools: {PRIVATE}, {PROCESS}.")
        if threads.count < 1:
            raise UsageError(f"threads must be at least 1, not {threads.count}")
        try:
            graph = self._graphs[path.read_text(encoding="utf-8")]
        except (OSError, UnicodeDecodeError, KeyError) as error:
            raise BackendError(f"{path}: names no fake graph: {error!r}") from None
        got = Threads(threads.count, PRIVATE)
        return FakeGraph(graph.inputs, graph.outputs, graph._compute, got, str(path))


class TestFake(BackendContract):
    backend = FakeBackend(
        {
            "arithmetic": FakeGraph(
                {
                    "x": Tensor("float32", ("batch", 3)),
                    "ids": Tensor("int64", ("batch", 2)),
                    "factor": Tensor("float32", ()),
                },
                {"scaled": Tensor("float32", ("batch", 3)), "total": Tensor("float32", ("batch",))},
                scaled_and_total,
            )
        }
    )

    def write(self, path: Path) -> None:
        path.write_text("arithmetic")

    def test_threads_in_use_are_reported(self, path: Path) -> None:
        assert self.backend.open(path, Threads(2, PROCESS)).threads == Threads(2, PRIVATE)  # there is no pool


def test_fake_graph_failing_function_raises_backend_error() -> None:
    graph = FakeGraph({}, {"y": Tensor("float32", ())}, lambda feed: {}, name="half a graph")
    with pytest.raises(BackendError, match="half a graph: KeyError: 'y'"):
        graph.run({})


def test_scripted_predictions_repeat_in_order() -> None:
    model = scripted([CAT, DOG])
    assert [(r.label, r.exit, round(r.confidence, 2)) for r in (model(X), model(X), model(X))] == [
        ("cat", 0, 0.95),
        ("dog", 2, 0.7),
        ("cat", 0, 0.95),
    ]
    assert model.stats()["exit_counts"] == [2, 0, 1]


def test_scripted_gates_depend_on_thresholds() -> None:
    model = scripted([ScriptedAnswer("cat", exit=1, confidence=0.7)])
    assert model(X).exit == 2  # balanced: 0.8
    model.use("fast")
    assert model(X).exit == 1
    assert model(X, min_exit=-1).exit == 2
    with pytest.raises(InputError, match="NaN"):
        model(X * np.nan)


def test_scripted_batch_uses_one_prediction_per_row() -> None:
    model = scripted([CAT, DOG, ScriptedAnswer("cat", logits=(1.0, 0.5))])
    results = model.batch(np.repeat(X, 3, 0))
    assert [(r.label, r.exit) for r in results] == [("cat", 0), ("dog", 2), ("cat", 0)]
    np.testing.assert_array_equal(results[2].logits, [1, 0.5])


def test_scripted_like_bundle_copies_its_interface(tiny_bundle: Path) -> None:
    model = scripted([ScriptedAnswer("lower", exit=1, confidence=0.9)], like=ee.open_bundle(tiny_bundle))
    assert (model.labels, list(model.operating_points)) == (LABELS, list(POINTS))
    assert (model(image(0, 1)).label, model(image(0, 1)).exit) == ("lower", 1)


def test_scripted_clock_advances_by_component_ms() -> None:
    clock = FakeClock()
    model = scripted([DOG], clock=clock, component_ms={"seg0": 3, "exit1": 0.5})
    clock.advance_ms(100)
    assert model(X).latency_ms == 3.5


def test_scripted_eight_threads_share_the_script() -> None:
    model, answers = scripted([CAT, DOG]), []

    def work() -> None:
        for _ in range(100):
            answers.append(model(X).label)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(answers) == ["cat"] * 400 + ["dog"] * 400


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ([], {}, "the script is empty"),
        ([CAT], {"labels": ("dog",)}, "the script has 'cat'; the labels are dog"),
        ([DOG], {"early_exits": 1}, "the script has exit 2; the last one is 1"),
        ([ScriptedAnswer("cat", logits=(1.0, 2.0))], {}, "the script has 2 logits for 1 labels"),
        ([CAT], {"component_ms": {"seg9": 1.0}}, "there is no component 'seg9'"),
        ([CAT], {"component_ms": {"seg0": 1.0}}, "needs a clock"),
    ],
)
def test_scripted_invalid_script_raises_usage_error(
    script: list[ScriptedAnswer], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        scripted(script, **options)
