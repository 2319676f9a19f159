"""Cascade of a bundle as a microcontroller runs it: int8 graphs, the tensors between them, exits, operating points."""

from collections.abc import Mapping
from dataclasses import dataclass

from eetool.errors import ArtefactError, MissingError, UsageError
from eetool_runtime.bundle import Bundle
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import NEVER, Component, Manifest, Variant
from eetool_runtime.tflite_signature import Signature, SignatureTensor, read_signature

VARIANT = "tflm/int8"
MAX_SOFTMAX = "max_softmax"
_MAX_COMPONENTS = 32  # bits of the number that says which of them run
_MAKE_ONE = "`eetool export MODEL --target mcu` makes bundles for microcontrollers."


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        tensor: its name.
        position: among the graph's inputs or outputs.
        size_bytes: as int8.
        scale: step of the quantisation.
        zero_point: integer that stands for 0.
    """

    tensor: str
    position: int
    size_bytes: int
    scale: float
    zero_point: int


@dataclass(frozen=True)
class DeviceExit:
    """An exit: its index, the output with its logits, and its temperature."""

    index: int
    logits: Port
    temperature: float


@dataclass(frozen=True)
class DeviceComponent:
    """A graph and its ends. `file` is its path in the bundle; `exit` is None for a segment."""

    name: str
    file: str
    graph: bytes
    reads: tuple[Port, ...]
    writes: tuple[Port, ...]
    exit: DeviceExit | None


@dataclass(frozen=True)
class DevicePoint:
    """An operating point.

    Attributes:
        name: its name in the bundle.
        thresholds: one per exit; that of the final exit is 0, and one that never fires is 2.
        runs: indices of the components that run unless an earlier exit fires.
        exit_shares: expected share of inputs that leave at each exit, where known.
    """

    name: str
    thresholds: tuple[float, ...]
    runs: tuple[int, ...]
    exit_shares: tuple[float, ...] | None

    @property
    def never_early(self) -> bool:
        """Whether no early exit fires."""
        return all(threshold > 1 for threshold in self.thresholds[:-1])


@dataclass(frozen=True)
class DeviceCascade:
    """Everything of a bundle that a microcontroller needs. The shapes of the inputs include the batch, which is 1."""

    name: str
    labels: tuple[str, ...]
    inputs: tuple[Port, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    components: tuple[DeviceComponent, ...]
    points: tuple[DevicePoint, ...]
    default_point: str

    @property
    def n_exits(self) -> int:
        """Number of exits, the final one included."""
        return sum(c.exit is not None for c in self.components)


def read_cascade(bundle: Bundle, variant: str = VARIANT) -> DeviceCascade:
    """Return the cascade of a bundle for microcontrollers.

    Raises:
        MissingError: the bundle has no variant for microcontrollers.
        UsageError: it is another variant, or its exits need more than a softmax.
        ArtefactError: a graph is no TFLite file, or has an end that is not int8.
    """
    m = bundle.manifest
    if variant not in ("auto", VARIANT):
        raise UsageError(f"{variant} does not run on microcontrollers", f"Only {VARIANT} does. {_MAKE_ONE}")
    if VARIANT not in m.variants:
        known = ", ".join(m.variants)
        raise MissingError(f"{bundle.path.name} has no variant {VARIANT}, only {known}", _MAKE_ONE)
    if m.score != MAX_SOFTMAX or m.exits[0].slope is not None:
        kind = "Platt scaling" if m.score == MAX_SOFTMAX else f"the gate score {m.score}"
        raise UsageError(
            f"{bundle.path.name} has {kind}; on a microcontroller confidence is the largest probability",
            "Tune the model again with `--score max_softmax` and `--calibration temperature`.",
        )
    if len(m.components) > _MAX_COMPONENTS:
        raise UsageError(f"{len(m.components)} components are too many for a microcontroller; {_MAX_COMPONENTS} fit")
    chosen = m.variants[VARIANT]
    signatures, graphs = {}, {}
    for c in m.components:
        path = chosen.components[c.name].path
        graphs[c.name] = bundle.file(path).read_bytes()
        signatures[c.name] = _signature(graphs[c.name], path)
    components = tuple(_component(m, chosen, c, graphs[c.name], signatures[c.name]) for c in m.components)
    ends = [_find_input(signatures, spec.name) for spec in m.inputs]
    return DeviceCascade(
        m.name,
        m.labels,
        tuple(_port(name, stored, m.name) for name, stored in ends),
        tuple(tuple(int(size) for size in stored.tensor.shape) for _, stored in ends),
        components,
        _points(m, chosen),
        m.default_operating_point,
    )


def _signature(graph: bytes, path: str) -> Signature:
    try:
        return read_signature(graph)
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}", "Export the bundle again.") from None


def _component(m: Manifest, variant: Variant, c: Component, graph: bytes, signature: Signature) -> DeviceComponent:
    path = variant.components[c.name].path
    reads, writes = (
        tuple(sorted((_port(name, s, path) for name, s in side.items()), key=lambda port: port.position))
        for side in (signature.inputs, signature.outputs)
    )
    unknown = {port.tensor for port in reads} - set(c.inputs) | {port.tensor for port in writes} - set(c.outputs)
    if unknown:
        raise ArtefactError(f"{path}: {min(unknown)!r} is no tensor of {c.name}", "Export the bundle again.")
    exit_index = next((i for i, e in enumerate(m.exits) if e.component == c.name), None)
    own = None
    if exit_index is not None:
        logits = next((port for port in writes if port.tensor == m.exits[exit_index].logits), None)
        if logits is None:
            raise ArtefactError(f"{path}: it does not make the logits of exit {exit_index}", "Export the bundle again.")
        own = DeviceExit(exit_index, logits, variant.temperatures[exit_index])
    return DeviceComponent(c.name, path, graph, reads, writes, own)


def _port(name: str, stored: SignatureTensor, where: str) -> Port:
    if stored.quantization is None:
        raise ArtefactError(
            f"{where}: {name!r} is {stored.tensor.dtype}; on microcontrollers graphs take and give int8", _MAKE_ONE
        )
    size = 1
    for side in stored.tensor.shape:
        size *= int(side)
    return Port(name, stored.position, size, stored.quantization.scale, stored.quantization.zero_point)


def _find_input(signatures: Mapping[str, Signature], name: str) -> tuple[str, SignatureTensor]:
    for signature in signatures.values():
        if name in signature.inputs:
            return name, signature.inputs[name]
    raise ArtefactError(f"no graph reads the input {name!r}", "Export the bundle again.")


def _points(m: Manifest, variant: Variant) -> tuple[DevicePoint, ...]:
    points = []
    for name, point in variant.operating_points.items():
        runs = tuple(step.position for step in plan_steps(m, point.thresholds))
        thresholds = (*(NEVER if t is None else t for t in point.thresholds), 0.0)
        shares = None if point.expected is None else point.expected.exit_shares
        points.append(DevicePoint(name, thresholds, runs, shares))
    return tuple(points)
