"""Plan of the arena: which tensors wait between components, and where, so that all components use one memory in turn.

A graph's input and output lie in the memory that the next graph overwrites. A tensor that a later component reads is
therefore copied to the end of that memory, and the components that run before its last reader get less of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.microcontroller.cascade import DeviceCascade, DeviceComponent, Port

ALIGNMENT = 16  # bytes, of tensors and arenas in TFLM
_BEFORE = -1  # index of the component that makes the model's inputs


@dataclass(frozen=True)
class WaitingTensor:
    """A tensor between components.

    Attributes:
        name: its name.
        size_bytes: its size.
        made_by: index of the component that makes it; -1 for an input of the model.
        last_read_by: index of the last component that reads it.
        distance_from_end: bytes from its first one to the end of the working memory.
    """

    name: str
    size_bytes: int
    made_by: int
    last_read_by: int
    distance_from_end: int = 0

    def waits_during(self, component: int) -> bool:
        """Return whether a component must not overwrite it, because a later one reads it."""
        return self.made_by < component < self.last_read_by


@dataclass(frozen=True)
class Move:
    """A copy between a waiting tensor and a port of a component."""

    component: int
    position: int
    tensor: int
    is_read: bool


@dataclass(frozen=True)
class MemoryPlan:
    """Plan of a cascade.

    Attributes:
        tensors: that wait; their index is their number.
        moves: in the order in which a component makes them.
        waiting_bytes: of each component: the end of the working memory that it must leave alone.
    """

    tensors: tuple[WaitingTensor, ...]
    moves: tuple[Move, ...]
    waiting_bytes: tuple[int, ...]

    @property
    def most_waiting_bytes(self) -> int:
        """Bytes from the first byte of any waiting tensor to the end."""
        return max((tensor.distance_from_end for tensor in self.tensors), default=0)

    def index(self, name: str) -> int | None:
        """Return the number of a tensor; None where it does not wait."""
        return next((i for i, tensor in enumerate(self.tensors) if tensor.name == name), None)

    def working_bytes(self, component_bytes: Sequence[int]) -> int:
        """Return the size of the memory in which every component runs beside the tensors that wait.

        Args:
            component_bytes: memory that each component needs for its own tensors.
        """
        together = [own + waiting for own, waiting in zip(component_bytes, self.waiting_bytes, strict=True)]
        return aligned(max(*together, self.most_waiting_bytes))


def aligned(size_bytes: int) -> int:
    """Return a size rounded up to the alignment of TFLM."""
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


def plan_memory(cascade: DeviceCascade) -> MemoryPlan:
    """Return the plan of a cascade.

    An input of the model that only the first component reads does not wait: it is written where that graph reads it.
    """
    tensors = _place(_waiting_tensors(cascade))
    moves, waiting = [], []
    for i, component in enumerate(cascade.components):
        reads = _moves(tensors, i, component.reads, True)
        writes = _moves(tensors, i, component.writes, False)
        kept = [tensor for tensor in tensors if tensor.waits_during(i)]
        # A copy may overwrite the source of the next one. At most one on each side lies within reach of the graph:
        # it is read first and written last. The others keep out of reach.
        ends_here = [m for m in reads if not tensors[m.tensor].waits_during(i)]
        for side in (ends_here[1:], writes[:-1]):
            kept += [tensors[m.tensor] for m in side]
        moves += [*ends_here, *(m for m in reads if m not in ends_here), *writes]
        waiting.append(max((tensor.distance_from_end for tensor in kept), default=0))
    return MemoryPlan(tensors, tuple(moves), tuple(waiting))


def _moves(tensors: Sequence[WaitingTensor], component: int, ports: Sequence[Port], is_read: bool) -> list[Move]:
    """Return the copies of one side of a component."""
    numbers = {tensor.name: i for i, tensor in enumerate(tensors)}
    return [Move(component, port.position, numbers[port.tensor], is_read) for port in ports if port.tensor in numbers]


def _waiting_tensors(cascade: DeviceCascade) -> list[WaitingTensor]:
    made = {port.tensor: (port, _BEFORE) for port in cascade.inputs}
    made |= {port.tensor: (port, i) for i, c in enumerate(cascade.components) for port in c.writes}
    found = []
    for name, (port, made_by) in made.items():
        readers = [i for i, c in enumerate(cascade.components) if _reads(c, name)]
        if readers and not (made_by == _BEFORE and readers == [0]):
            found.append(WaitingTensor(name, port.size_bytes, made_by, readers[-1]))
    return found


def _reads(component: DeviceComponent, tensor: str) -> bool:
    return any(port.tensor == tensor for port in component.reads)


def _place(tensors: Sequence[WaitingTensor]) -> tuple[WaitingTensor, ...]:
    """Give every tensor a place that is free while it waits: first fit from the end, the longest wait first."""
    placed: list[WaitingTensor] = []
    for tensor in sorted(tensors, key=lambda t: (t.made_by - t.last_read_by, -t.size_bytes, t.made_by)):
        taken = [other for other in placed if _overlap_in_time(tensor, other)]
        end = 0  # distance of the place's last byte from the end
        for other in sorted(taken, key=lambda t: t.distance_from_end):
            if other.distance_from_end - aligned(other.size_bytes) >= end + aligned(tensor.size_bytes):
                break
            end = max(end, other.distance_from_end)
        size = aligned(tensor.size_bytes)
        placed.append(WaitingTensor(tensor.name, tensor.size_bytes, tensor.made_by, tensor.last_read_by, end + size))
    return tuple(sorted(placed, key=lambda t: (t.made_by, t.name)))


def _overlap_in_time(one: WaitingTensor, other: WaitingTensor) -> bool:
    return one.made_by < other.last_read_by and other.made_by < one.last_read_by
