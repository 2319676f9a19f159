"""Memory of graphs, measured by TensorFlow Lite Micro itself."""

import pytest

from eetool.errors import ArtefactError
from eetool.microcontroller.arena_measurement import ArenaNeed, allocator_bytes, measure_arena
from eetool.microcontroller.arena_trial import smallest_arena
from eetool.microcontroller.footprint import measure_graph
from eetool.microcontroller.memory_plan import ALIGNMENT
from tests.helpers.int8_cascade import SIZES, make_graphs

pytest.importorskip("ai_edge_litert")
runtime = pytest.importorskip("tflite_micro").runtime


def loads(graph: bytes, arena_bytes: int) -> bool:
    try:
        runtime.Interpreter.from_bytes(graph, arena_size=arena_bytes)
    except RuntimeError:
        return False
    return True


def test_measure_arena_is_enough_and_hardly_more(capfd: pytest.CaptureFixture[str]) -> None:
    graph = make_graphs(skips=True)["seg1"]
    need = measure_arena(graph, "seg1")
    assert capfd.readouterr() == ("", "")  # what TFLM prints is caught
    assert need.working_bytes >= sum(SIZES[name] for name in ("h0", "input", "g0", "h1"))
    together = need.working_bytes + need.persistent_bytes + allocator_bytes()
    assert loads(graph, together)
    assert not loads(graph, together - 1024)  # tensors of both ends and alignment


def test_smallest_arena_is_the_least_of_those_that_suffice() -> None:
    graph = make_graphs(skips=True)["seg1"]
    smallest = smallest_arena(graph, 512, 8192)  # in some that are smaller, TFLM would end this process
    assert smallest is not None
    assert 512 < smallest < 4096
    assert smallest % ALIGNMENT == 0
    assert all(loads(graph, smallest + more) for more in range(0, 512, ALIGNMENT))
    assert smallest_arena(graph, smallest, 8192) == smallest
    assert smallest_arena(graph, 512, smallest - ALIGNMENT) is None


def test_measure_arena_is_repeatable() -> None:
    graph = make_graphs(skips=False)["exit0"]
    assert isinstance(need := measure_arena(graph, "exit0"), ArenaNeed)
    assert measure_arena(graph, "exit0") == need


def test_measure_graph_damaged_file_is_refused() -> None:
    graph = make_graphs(skips=False)["exit0"]
    with pytest.raises(ArtefactError, match="exit0: "):
        measure_graph(graph[:200], "exit0")
