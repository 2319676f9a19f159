"""Flash and RAM of a cascade on a microcontroller, and the limits that they have to keep."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.errors import BudgetError
from eetool.graphs.tflite_graph import parse_tflite
from eetool.microcontroller.arena_measurement import ArenaNeed, allocator_bytes, measure_arena
from eetool.microcontroller.cascade import DeviceCascade
from eetool.microcontroller.kernel_memory import constant_sum_bytes, scratch_bytes
from eetool.microcontroller.memory_plan import MemoryPlan, plan_memory

_KIB = 1024


@dataclass(frozen=True)
class GraphMemory:
    """Memory of one graph in bytes.

    Attributes:
        graph_bytes: of flash.
        measured_working_bytes: memory for its tensors while it runs, with reference kernels.
        working_bytes: the same with room for the scratch buffers of CMSIS-NN.
        persistent_bytes: memory for its interpreter's records, of 64-bit pointers, without those of the allocator.
    """

    graph_bytes: int
    measured_working_bytes: int
    working_bytes: int
    persistent_bytes: int


@dataclass(frozen=True)
class Footprint:
    """Memory of a cascade in bytes.

    Attributes:
        graphs: of the components.
        waiting_bytes: memory that each component leaves alone, because tensors wait there.
        measured_working_bytes: shared by all components, with reference kernels.
        working_bytes: the same with room for the scratch buffers of CMSIS-NN.
        allocator_bytes: records of the allocator, which all components share.
    """

    graphs: tuple[GraphMemory, ...]
    waiting_bytes: tuple[int, ...]
    measured_working_bytes: int
    working_bytes: int
    allocator_bytes: int

    @property
    def graph_bytes(self) -> int:
        """Flash of all graphs."""
        return sum(graph.graph_bytes for graph in self.graphs)

    @property
    def persistent_bytes(self) -> int:
        """Memory for the records of all interpreters."""
        return sum(graph.persistent_bytes for graph in self.graphs) + self.allocator_bytes

    @property
    def arena_bytes(self) -> int:
        """Size of the shared arena."""
        return self.working_bytes + self.persistent_bytes


@dataclass(frozen=True)
class Memory:
    """Memory of a cascade in documents: `graph_bytes` of flash, and an arena of two parts in RAM."""

    graph_bytes: int
    arena_bytes: int
    working_bytes: int
    persistent_bytes: int


def memory_of(footprint: Footprint) -> Memory:
    """Return a footprint as documents have it."""
    return Memory(footprint.graph_bytes, footprint.arena_bytes, footprint.working_bytes, footprint.persistent_bytes)


def measure_graph(graph: bytes, where: str) -> GraphMemory:
    """Return the memory of a graph, its arena measured by TFLM.

    Args:
        graph: bytes of a TFLite file.
        where: its name, for messages.

    Raises:
        MissingError: tflite_micro is not installed.
        ArtefactError: it is no TFLite file, or TFLM cannot load it.
    """
    parse_tflite(graph, where)  # TFLM itself does not check files
    return graph_memory(graph, where, measure_arena(graph, where))


def graph_memory(graph: bytes, where: str, need: ArenaNeed) -> GraphMemory:
    """Return the memory of a graph that needs the arena `need` with reference kernels."""
    parsed = parse_tflite(graph, where)
    working = need.working_bytes + scratch_bytes(parsed)
    persistent = need.persistent_bytes + constant_sum_bytes(parsed)
    return GraphMemory(len(graph), need.working_bytes, working, persistent)


def measure_footprint(cascade: DeviceCascade) -> Footprint:
    """Return the memory of a cascade; raises as `measure_graph`."""
    graphs = [measure_graph(c.graph, c.file) for c in cascade.components]
    return footprint(plan_memory(cascade), graphs, allocator_bytes())


def footprint(plan: MemoryPlan, graphs: Sequence[GraphMemory], allocator_bytes: int) -> Footprint:
    """Return the memory of a cascade whose components share working memory by `plan`."""
    reserved = [graph.working_bytes for graph in graphs]
    return Footprint(
        tuple(graphs),
        plan.waiting_bytes,
        plan.working_bytes([graph.measured_working_bytes for graph in graphs]),
        plan.working_bytes(reserved),
        allocator_bytes,
    )


def budget_error(memory: Footprint, max_flash_kb: float | None, max_ram_kb: float | None) -> BudgetError | None:
    """Return an error that tells by how much graphs or arena exceed a limit in KiB; None where they do not."""
    limits = (("flash", memory.graph_bytes, max_flash_kb), ("RAM", memory.arena_bytes, max_ram_kb))
    over = [
        f"{used / _KIB:.1f} KiB of {kind}, {used / _KIB - limit:.1f} KiB more than {limit:g}"
        for kind, used, limit in limits
        if limit is not None and used > limit * _KIB
    ]
    if not over:
        return None
    return BudgetError(
        f"the cascade needs {' and '.join(over)}",
        "Take a smaller network, fewer exits or smaller inputs. Code and stack need room as well.",
    )
