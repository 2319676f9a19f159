"""Flash and RAM of a cascade, and limits."""

from pathlib import Path

import pytest

from eetool.graphs.tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor
from eetool.microcontroller.arena_measurement import ArenaNeed
from eetool.microcontroller.cascade import DeviceCascade, read_cascade
from eetool.microcontroller.footprint import Footprint, budget_error, footprint, graph_memory
from eetool.microcontroller.kernel_memory import constant_sum_bytes, scratch_bytes
from eetool.microcontroller.memory_plan import plan_memory
from eetool_runtime import open_bundle
from tests.helpers.int8_cascade import write_int8_cascade

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def cascade(tmp_path: Path) -> DeviceCascade:
    return read_cascade(open_bundle(write_int8_cascade(tmp_path)))


def memory(cascade: DeviceCascade) -> Footprint:
    needs = [ArenaNeed(1024 * (i + 1), 2048) for i in range(4)]
    graphs = [graph_memory(c.graph, c.file, need) for c, need in zip(cascade.components, needs, strict=True)]
    return footprint(plan_memory(cascade), graphs, 400)


def test_footprint_counts_graphs_and_one_arena(cascade: DeviceCascade) -> None:
    own = memory(cascade)
    assert own.graph_bytes == sum(len(c.graph) for c in cascade.components)
    assert own.measured_working_bytes == 4096  # of the last component, beside which nothing waits
    assert own.working_bytes == 4096 + own.graphs[3].working_bytes - own.graphs[3].measured_working_bytes
    sums = sum(graph.persistent_bytes - 2048 for graph in own.graphs)  # of fully connected layers
    assert own.persistent_bytes == 4 * 2048 + sums + 400  # one allocator
    assert own.arena_bytes == own.working_bytes + own.persistent_bytes


def test_budget_error_tells_by_how_much(cascade: DeviceCascade) -> None:
    own = memory(cascade)
    ram, flash = own.arena_bytes / 1024, own.graph_bytes / 1024
    assert budget_error(own, None, None) is None
    assert budget_error(own, flash, ram) is None
    error = budget_error(own, flash - 0.5, ram - 2)
    assert error is not None
    assert error.exit_code == 6
    assert f"{flash:.1f} KiB of flash, 0.5 KiB more than" in error.message
    assert f"{ram:.1f} KiB of RAM, 2.0 KiB more than" in error.message


def graph(op: str, inputs: tuple[int, ...], weights: tuple[int, ...], outputs: tuple[int, ...]) -> TfliteGraph:
    tensors = tuple(TfliteTensor(shape, True, i == 1) for i, shape in enumerate((inputs, weights, outputs)))
    return TfliteGraph((TfliteOperator(op, (0, 1, -1), (2,), {}),), tensors, (2,))


@pytest.mark.parametrize(
    ("op", "inputs", "weights", "outputs", "expected"),
    [
        # Helium's four columns of 3 * 3 * 16 values; with DSP instructions 2 * 144 numbers of 2 bytes are as many.
        ("CONV_2D", (1, 32, 32, 16), (32, 3, 3, 16), (1, 32, 32, 32), 576),
        # Helium's block of 124 channels is more than 64 channels of 2 bytes.
        ("DEPTHWISE_CONV_2D", (1, 8, 8, 64), (1, 3, 3, 64), (1, 8, 8, 64), 4 * 124 * 9),
        ("FULLY_CONNECTED", (1, 64), (10, 64), (1, 10), 4 * (2 * 10 + 64)),
        ("AVERAGE_POOL_2D", (1, 8, 8, 64), (1,), (1, 1, 1, 64), 256),
        ("RELU", (1, 8), (1,), (1, 8), 0),
    ],
)
def test_scratch_bytes_are_those_of_cmsis_nn(
    op: str, inputs: tuple[int, ...], weights: tuple[int, ...], outputs: tuple[int, ...], expected: int
) -> None:
    own = graph(op, inputs, weights, outputs)
    assert scratch_bytes(own) == -(-expected // 16) * 16
    assert constant_sum_bytes(own) == (48 if op == "FULLY_CONNECTED" else 0)
