"""Plan of the arena: no component overwrites what a later one reads, and copies do not overwrite each other."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.microcontroller.cascade import DeviceCascade, DeviceComponent, Port
from eetool.microcontroller.memory_plan import MemoryPlan, WaitingTensor, aligned, plan_memory


def port(name: str, size_bytes: int, position: int = 0) -> Port:
    return Port(name, position, size_bytes, 0.1, 0)


def cascade(inputs: dict[str, int], *components: tuple[Sequence[str], dict[str, int]]) -> DeviceCascade:
    """A cascade of components by the names that they read, and the tensors with sizes that they make."""
    sizes = dict(inputs)
    built = []
    for i, (reads, writes) in enumerate(components):
        sizes |= writes
        ports = tuple(port(name, sizes[name], k) for k, name in enumerate(reads))
        made = tuple(port(name, size, k) for k, (name, size) in enumerate(writes.items()))
        built.append(DeviceComponent(f"c{i}", f"c{i}.tflm", b"", ports, made, None))
    ends = tuple(port(name, size) for name, size in inputs.items())
    return DeviceCascade("model", ("a", "b"), ends, ((1, 1),) * len(ends), tuple(built), (), "full")


CHAIN = cascade(
    {"x": 300},
    (["x"], {"h0": 100}),
    (["h0"], {"logits0": 4}),
    (["h0"], {"h1": 40}),
    (["h1"], {"logits1": 4}),
)


def test_plan_chain_reserves_a_boundary_only_beside_the_exit() -> None:
    plan = plan_memory(CHAIN)
    assert {tensor.name for tensor in plan.tensors} == {"h0", "h1"}
    assert plan.waiting_bytes == (0, 112, 0, 0)


def test_plan_input_of_the_first_component_alone_does_not_wait() -> None:
    assert plan_memory(CHAIN).index("x") is None
    later = cascade({"x": 300}, (["x"], {"h": 8}), (["x", "h"], {"y": 4}))
    assert plan_memory(later).index("x") is not None


def test_plan_working_bytes_are_those_of_the_largest_component_with_what_waits() -> None:
    plan = plan_memory(CHAIN)
    assert plan.working_bytes([500, 150, 200, 60]) == aligned(500)
    assert plan.working_bytes([200, 400, 200, 60]) == aligned(400 + 112)
    assert plan.working_bytes([16, 0, 16, 16]) == 112  # the boundary itself needs that much


def test_plan_single_component_has_nothing_that_waits() -> None:
    plan = plan_memory(cascade({"x": 5}, (["x"], {"logits": 2})))
    assert (plan.tensors, plan.moves, plan.waiting_bytes) == ((), (), (0,))
    assert plan.most_waiting_bytes == 0


@st.composite
def cascades(draw: st.DrawFn) -> DeviceCascade:
    """Cascades of any wiring."""
    sizes = st.integers(1, 200)
    known = {f"x{i}": draw(sizes) for i in range(draw(st.integers(1, 3)))}
    inputs, components = dict(known), []
    for i in range(draw(st.integers(1, 6))):
        reads = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=3, unique=True))
        writes = {f"t{i}_{k}": draw(sizes) for k in range(draw(st.integers(1, 3)))}
        known |= writes
        components.append((reads, writes))
    return cascade(inputs, *components)


def place(tensor: WaitingTensor, working: int) -> range:
    start = working - tensor.distance_from_end
    return range(start, start + tensor.size_bytes)


def overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


@settings(max_examples=50)
@given(cascades(), st.data())
def test_plan_execution_reads_what_was_written(drawn: DeviceCascade, data: st.DataObject) -> None:
    """Run the moves in a memory in which every component overwrites all that it may reach."""
    plan = plan_memory(drawn)
    own = [data.draw(st.integers(1, 50)) * 16 for _ in drawn.components]
    own = [max(size, _ends(c.reads), _ends(c.writes)) for size, c in zip(own, drawn.components, strict=True)]
    working, waiting = plan.working_bytes(own), plan.waiting_bytes
    memory: list[object] = [None] * working
    for tensor in plan.tensors:
        if tensor.made_by < 0:
            _fill(memory, place(tensor, working), tensor.name)
    for i, component in enumerate(drawn.components):
        room = working - waiting[i]
        assert own[i] <= room
        if i == 0:
            for p in component.reads:
                if plan.index(p.tensor) is None:
                    _fill(memory, _at(component.reads, p), p.tensor)
        _move(memory, plan, i, component.reads, True, working)
        for p in component.reads:
            assert _whole(memory, _at(component.reads, p), p.tensor)
        memory[:room] = ["garbage"] * room
        for p in component.writes:
            _fill(memory, _at(component.writes, p), p.tensor)
        _move(memory, plan, i, component.writes, False, working)


@settings(max_examples=50)
@given(cascades())
def test_plan_tensors_that_wait_together_do_not_overlap(drawn: DeviceCascade) -> None:
    plan = plan_memory(drawn)
    working = plan.most_waiting_bytes
    for i, one in enumerate(plan.tensors):
        for other in plan.tensors[:i]:
            if one.made_by < other.last_read_by and other.made_by < one.last_read_by:
                assert not overlap(place(one, working), place(other, working))


def _ends(ports: Sequence[Port]) -> int:
    return sum(aligned(p.size_bytes) for p in ports)


def _at(ports: Sequence[Port], wanted: Port) -> range:
    start = _ends(ports[: wanted.position])
    return range(start, start + wanted.size_bytes)


def _fill(memory: list[object], where: range, name: str) -> None:
    for k, address in enumerate(where):
        memory[address] = (name, k)


def _whole(memory: list[object], where: range, name: str) -> bool:
    return [memory[address] for address in where] == [(name, k) for k in range(len(where))]


def _move(
    memory: list[object], plan: MemoryPlan, component: int, ports: Sequence[Port], is_read: bool, working: int
) -> None:
    for move in plan.moves:
        if (move.component, move.is_read) == (component, is_read):
            ends = [place(plan.tensors[move.tensor], working), _at(ports, ports[move.position])]
            source, target = ends if is_read else ends[::-1]
            values = [memory[address] for address in source]
            for address, value in zip(target, values, strict=True):
                memory[address] = value
