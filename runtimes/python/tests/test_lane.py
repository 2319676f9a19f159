"""Lanes: bound where every size is known, made anew where it is not, and never shared by two calls."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import image

import eetool_runtime as ee
from eetool_runtime.errors import BackendError
from eetool_runtime.lane import Lanes
from eetool_runtime.manifest import Input, Tensor
from eetool_runtime.testing import FakeGraph


@pytest.fixture
def model(tiny_bundle: Any) -> ee.Model:
    return ee.load(tiny_bundle)


def lanes_of(model: ee.Model) -> Lanes:
    return model._lanes


def test_a_lane_is_used_again(model: ee.Model) -> None:
    first = lanes_of(model).take()
    lanes_of(model).give_back(first)
    model(image(0, 2.0))
    assert lanes_of(model).take() is first
    assert lanes_of(model).take() is not first  # it is in use


def test_answers_do_not_change_when_their_lane_is_used_again(model: ee.Model) -> None:
    first = model(image(0, 2.0))
    logits = first.logits.copy()
    other = model(image(1, 2.0))
    np.testing.assert_array_equal(first.logits, logits)
    assert not np.array_equal(first.logits, other.logits)


def test_inputs_are_read_where_they_are_and_left_alone(model: ee.Model) -> None:
    x = image(0, 2.0)
    kept = x.copy()
    model(x)
    np.testing.assert_array_equal(x, kept)
    x[...] = image(1, 2.0)  # the same memory, another image
    np.testing.assert_array_equal(model(x).logits, model(image(1, 2.0)).logits)


def test_an_input_in_strides_is_read_rightly(model: ee.Model) -> None:
    x = image(0, 2.0)
    strided = np.repeat(x, 2, axis=-1)[..., ::2]
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(model(strided).logits, model(x).logits)


def test_a_call_that_fails_costs_its_lane_and_nothing_else(model: ee.Model) -> None:
    lane = lanes_of(model).take()
    lanes_of(model).give_back(lane)

    def broken() -> None:
        raise BackendError("out of order")

    sound, lane.calls[0] = lane.calls[0], broken
    with pytest.raises(BackendError, match="out of order"):
        model(image(0, 2.0))
    lane.calls[0] = sound
    assert model(image(0, 2.0)).exit == 0
    assert lanes_of(model).take() is not lane


def test_calls_from_many_threads_take_a_lane_each(model: ee.Model) -> None:
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
    assert 1 <= len(lanes_of(model)._free) <= len(workers)


@pytest.mark.parametrize(("size", "lengths"), [("length", (3, 5)), (3, (3, 3))], ids=["any", "fixed"])
def test_sizes_that_only_the_input_knows(size: Any, lengths: tuple[int, ...]) -> None:
    x, y = Tensor("float32", ("batch", size)), Tensor("float32", ("batch", size))
    graph = FakeGraph({"x": x}, {"y": y}, lambda tensors: {"y": tensors["x"] * 2})
    variants = {"fake/fp32": SimpleNamespace(tensors={"y": y})}
    manifest: Any = SimpleNamespace(inputs=(Input("x", "float32", x.shape),), exits=(), tensors={}, variants=variants)
    lane = Lanes(manifest, "fake/fp32", [graph], {}).take()
    for length in lengths:
        lane.enter({"x": np.ones((1, length), np.float32)})
        lane.calls[0]()
        np.testing.assert_array_equal(lane.tensors["y"], np.full((1, length), 2.0))
