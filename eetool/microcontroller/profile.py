"""Profile of a bundle on a microcontroller: flash, RAM and cycles, without the device.

Sizes of graphs are exact. Arenas are measured by TFLM on this machine, or for an Ethos-U told by Vela. Cycles come from
Vela, marked as estimated, or from a file of measurements; otherwise they are unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from eetool.microcontroller.arena_measurement import allocator_bytes
from eetool.microcontroller.cascade import VARIANT, DeviceCascade, DevicePoint, read_cascade
from eetool.microcontroller.cycles import MeasuredCycles, read_cycles
from eetool.microcontroller.devices import Microcontroller
from eetool.microcontroller.footprint import Footprint, GraphMemory, Memory, footprint, measure_graph, memory_of
from eetool.microcontroller.memory_plan import plan_memory
from eetool.microcontroller.vela import MEMORY_MODE, SYSTEM, VelaEstimate, estimate_by_vela, vela_version
from eetool.progress import SILENT, Progress
from eetool.records import sha256_file
from eetool_runtime.bundle import MANIFEST, Bundle

SCHEMA = "mcu_profile/1"
ESTIMATED, MEASURED = "estimated", "measured"
UNSPLIT = "unsplit"


@dataclass(frozen=True)
class ProfiledBundle:
    """The bundle: name and SHA-256 of its manifest."""

    name: str
    manifest_sha256: str


@dataclass(frozen=True)
class ProfiledComponent:
    """One component.

    Attributes:
        name: of the component.
        graph_bytes: of flash.
        working_bytes: working memory while it runs, with that of waiting tensors.
        persistent_bytes: memory for its interpreter's records.
        cycles: null where unknown.
        core_operators: operators that an Ethos-U leaves to the core; they are not in `cycles`.
    """

    name: str
    graph_bytes: int
    working_bytes: int
    persistent_bytes: int
    cycles: float | None
    core_operators: tuple[str, ...]


@dataclass(frozen=True)
class UnsplitNetwork:
    """The network without early exits, measured in the same way."""

    graph_bytes: int
    arena_bytes: int
    cycles: float | None


@dataclass(frozen=True)
class ProfiledPoint:
    """An operating point: cycles of an input that leaves at each exit, and their mean over the expected shares."""

    name: str
    cycles_by_exit: tuple[float | None, ...]
    mean_cycles: float | None


@dataclass(frozen=True)
class McuProfile:
    """The whole document.

    Attributes:
        device: name of the microcontroller.
        memory_provenance: of working memory: `measured` by TFLM on a host, or `estimated` by Vela.
        cycles_provenance: `estimated` or `measured`; null where cycles are unknown.
        cycles_source: what they come from.
        clock_mhz: at which cycles become a time; null where unknown.
        not_included: what else takes flash and RAM.
    """

    device: str
    bundle: ProfiledBundle
    variant: str
    components: tuple[ProfiledComponent, ...]
    memory: Memory
    memory_provenance: str
    unsplit: UnsplitNetwork | None
    cycles_provenance: str | None
    cycles_source: str | None
    clock_mhz: float | None
    points: tuple[ProfiledPoint, ...]
    not_included: tuple[str, ...] = ("code of TFLM and of the application", "stack", "interpreter objects")


@dataclass(frozen=True)
class McuFigures:
    """Inputs of a profile.

    Attributes:
        memory: of the cascade.
        unsplit: of the network without early exits, if the bundle has it.
        cycles: by component; empty where unknown.
        unsplit_cycles: null where unknown.
        core_operators: see `ProfiledComponent`, by component.
        provenance: of the cycles.
        source: of the cycles.
        clock_mhz: see `McuProfile`.
    """

    memory: Footprint
    unsplit: GraphMemory | None
    cycles: Mapping[str, float] = field(default_factory=dict)
    unsplit_cycles: float | None = None
    core_operators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: str | None = None
    source: str | None = None
    clock_mhz: float | None = None


def profile_microcontroller(
    bundle: Bundle, device: Microcontroller, cycles: Path | None = None, progress: Progress = SILENT
) -> tuple[McuProfile, Footprint]:
    """Return flash, RAM and cycles of a bundle on a microcontroller.

    Args:
        bundle: with a variant for microcontrollers.
        device: the microcontroller.
        cycles: file of measured cycles, if any.
        progress: observer of the work.

    Raises:
        MissingError: the bundle has no such variant, or tflite_micro or Vela is not installed.
        UsageError: exits need more than a softmax.
        ArtefactError: a graph cannot be used, or `cycles` is of another device or other components.
    """
    cascade = read_cascade(bundle)
    names = tuple(c.name for c in cascade.components)
    measured = None if cycles is None else read_cycles(cycles, device.name, names)
    graphs = {c.name: (c.graph, c.file) for c in cascade.components}
    reference = bundle.manifest.variants[VARIANT].references.get(UNSPLIT)
    if reference is not None:
        graphs[UNSPLIT] = (bundle.file(reference).read_bytes(), reference)
    if device.vela_accelerator is not None:
        vela_version()
    memories: dict[str, GraphMemory] = {}
    estimates: dict[str, VelaEstimate] = {}
    with progress("measuring", len(graphs)) as advance:
        for name, (graph, path) in graphs.items():
            memories[name] = measure_graph(graph, path)
            if device.vela_accelerator is not None:
                estimates[name] = estimate_by_vela(graph, device.vela_accelerator, path)
                memories[name] = _compiled(memories[name], estimates[name])
            advance(1)
    memory = footprint(plan_memory(cascade), [memories[name] for name in names], allocator_bytes())
    figures = _with_cycles(McuFigures(memory, memories.get(UNSPLIT)), estimates, measured)
    return _document(bundle, cascade, device, figures), memory


def _compiled(graph: GraphMemory, estimate: VelaEstimate) -> GraphMemory:
    """Return the memory of a graph after Vela; its fewer operators need at most the records of all."""
    return GraphMemory(estimate.graph_bytes, estimate.working_bytes, estimate.working_bytes, graph.persistent_bytes)


def _with_cycles(
    figures: McuFigures, estimates: Mapping[str, VelaEstimate], measured: MeasuredCycles | None
) -> McuFigures:
    """Add measured cycles, or else those of Vela."""
    operators = {name: estimate.core_operators for name, estimate in estimates.items()}
    if measured is not None:
        return replace(
            figures,
            cycles=measured.cycles,
            unsplit_cycles=measured.unsplit,
            core_operators=operators,
            provenance=MEASURED,
            source=measured.conditions,
            clock_mhz=measured.clock_mhz,
        )
    if not estimates:
        return figures
    unsplit = estimates.get(UNSPLIT)
    return replace(
        figures,
        cycles={name: estimate.cycles for name, estimate in estimates.items() if name != UNSPLIT},
        unsplit_cycles=None if unsplit is None else unsplit.cycles,
        core_operators=operators,
        provenance=ESTIMATED,
        source=f"Vela {vela_version()}, {SYSTEM}, {MEMORY_MODE}",
        clock_mhz=next(iter(estimates.values())).clock_hz / 1e6,
    )


def _document(bundle: Bundle, cascade: DeviceCascade, device: Microcontroller, figures: McuFigures) -> McuProfile:
    memory, own = figures.memory, figures.unsplit
    components = tuple(
        ProfiledComponent(
            c.name,
            graph.graph_bytes,
            graph.working_bytes + waiting,
            graph.persistent_bytes,
            figures.cycles.get(c.name),
            figures.core_operators.get(c.name, ()),
        )
        for c, graph, waiting in zip(cascade.components, memory.graphs, memory.waiting_bytes, strict=True)
    )
    unsplit = (
        None
        if own is None
        else UnsplitNetwork(
            own.graph_bytes, own.working_bytes + own.persistent_bytes + memory.allocator_bytes, figures.unsplit_cycles
        )
    )
    return McuProfile(
        device.name,
        ProfiledBundle(cascade.name, sha256_file(bundle.path / MANIFEST)),
        VARIANT,
        components,
        memory_of(memory),
        MEASURED if device.vela_accelerator is None else ESTIMATED,
        unsplit,
        figures.provenance,
        figures.source,
        figures.clock_mhz,
        tuple(_point(cascade, point, figures.cycles) for point in cascade.points),
    )


def _point(cascade: DeviceCascade, point: DevicePoint, cycles: Mapping[str, float]) -> ProfiledPoint:
    """Return the cycles of an operating point: of everything that ran up to an exit, gates of other exits included."""
    by_exit: list[float | None] = [None] * cascade.n_exits
    total = 0.0
    for i, component in enumerate(cascade.components):
        if i in point.runs and cycles:
            total += cycles[component.name]
            if component.exit is not None and point.thresholds[component.exit.index] <= 1:
                by_exit[component.exit.index] = total
    shares = point.exit_shares
    if not cycles or shares is None:
        return ProfiledPoint(point.name, tuple(by_exit), total if cycles and point.never_early else None)
    return ProfiledPoint(point.name, tuple(by_exit), sum(s * (c or 0.0) for s, c in zip(shares, by_exit, strict=True)))
