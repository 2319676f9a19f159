"""A slower processor for every Python process that has this folder on PYTHONPATH.

Each call of an ONNX graph at batch 1 takes EETOOL_SLOWDOWN times as long: after the engine has returned, the process
waits for the rest. Batches and everything besides the graphs keep their speed. So the commands of eetool measure, tune
and run here as on a device whose graphs are slower by that factor.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_SPIN_S = 0.0003  # the end of a pause is waited for actively: a sleep ends late by tens of microseconds


def slowed(call: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Return `call` made slower by `factor`."""

    def slow(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = call(*arguments)
        end = start + factor * (time.perf_counter() - start)
        while (left := end - time.perf_counter()) > 0:
            if left > _SPIN_S:
                time.sleep(left - _SPIN_S)
        return result

    return slow


def slow_graphs(factor: float) -> None:
    """Replace the calls of ONNX graphs."""
    from eetool_runtime.backends.base import BoundCall
    from eetool_runtime.backends.onnx import OnnxGraph

    run, bind = OnnxGraph.run, OnnxGraph.bind
    slow_run = slowed(run, factor)

    def run_slowly(self: OnnxGraph, feed: Mapping[str, np.ndarray]) -> Any:
        alone = all(array.shape[:1] in ((), (1,)) for array in feed.values())
        return (slow_run if alone else run)(self, feed)

    def bind_slowly(self: OnnxGraph, inputs: Any, outputs: Any) -> BoundCall:
        bound = bind(self, inputs, outputs)
        return BoundCall(slowed(bound.call, factor), bound.read)

    OnnxGraph.run, OnnxGraph.bind = run_slowly, bind_slowly  # type: ignore[method-assign]


if "EETOOL_SLOWDOWN" in os.environ:
    slow_graphs(float(os.environ["EETOOL_SLOWDOWN"]))
