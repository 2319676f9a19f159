"""What `manifest.json` says: the records, and the rules between them that types alone cannot state.

The normative text is `docs/bundle-format.md`; names and meanings here follow it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Optional, Union

from .errors import BundleError
from .records import decode, parse_json

SCHEMA_VERSION = "1.0"
MAX_MANIFEST_BYTES = 1 << 20
DTYPES = ("float32", "int64", "int32", "uint8", "int8", "bool")
NEVER = 2.0  # the threshold of a gate that cannot fire: confidences end at 1.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_ELEMENTS = 1 << 31


@dataclass(frozen=True)
class Tensor:
    """A tensor between components. A dimension is a size or a symbol; `"batch"` is the symbol of the first one."""

    dtype: str
    shape: tuple[Union[int, str], ...]


@dataclass(frozen=True)
class Preprocess:
    """Raw uint8 pixels (H, W, C) to the model's input: `(pixel * scale - mean) / std`, then channels first."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Input:
    """A model input; `preprocess` is null where the caller brings finished tensors."""

    name: str
    dtype: str
    shape: tuple[Union[int, str], ...]
    preprocess: Optional[Preprocess] = None


@dataclass(frozen=True)
class Exit:
    """One exit: the tap it sits on (null for the final exit) and the names of its tensors."""

    tap: Optional[str]
    component: str
    logits: str
    confidence: str
    temperature: str


@dataclass(frozen=True)
class Component:
    """One graph, as every variant of it must look from outside. MACs are at batch 1."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    parameters: int


@dataclass(frozen=True)
class GraphFile:
    """One component in one variant, with the parity that was proved when it was exported."""

    path: str
    max_abs_error: float
    tolerance: float


@dataclass(frozen=True)
class Reached:
    """Confidence of the inputs that reach an exit: what drift is judged against."""

    n: int
    confidence_mean: float
    confidence_std: float


@dataclass(frozen=True)
class Expected:
    """Figures of an operating point on a named held-out split of `n` examples."""

    split: str
    n: int
    accuracy: float
    exit_shares: tuple[float, ...]
    mean_exit_depth: float
    mean_macs: float
    reached: tuple[Optional[Reached], ...]


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold per early exit; null never fires."""

    thresholds: tuple[Optional[float], ...]
    expected: Optional[Expected] = None


@dataclass(frozen=True)
class Variant:
    """One format and precision of every component, with the policy fitted on exactly these graphs."""

    components: dict[str, GraphFile]
    temperatures: tuple[float, ...]
    operating_points: dict[str, OperatingPoint]
    samples: str
    batch: Optional[int] = None
    references: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """How many examples a split holds, and the SHA-256 of their sorted int64 little-endian indices."""

    n: int
    sha256: str


@dataclass(frozen=True)
class Data:
    """The data the figures stand on, so that a later run can prove that it uses the same split."""

    source: str
    splits: dict[str, Split]


@dataclass(frozen=True)
class DeviceSettings:
    """What was measured on one device: the thread count to use there and the median time of each component."""

    machine: str
    variant: str
    threads: int
    component_latency_ms: dict[str, float]


@dataclass(frozen=True)
class File:
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    schema_version: str
    name: str
    inputs: tuple[Input, ...]
    labels: tuple[str, ...]
    tensors: dict[str, Tensor]
    exits: tuple[Exit, ...]
    components: tuple[Component, ...]
    variants: dict[str, Variant]
    score: str
    default_operating_point: str
    samples: str
    producer: dict[str, str]
    files: dict[str, File]
    max_accuracy_drop: Optional[float] = None
    data: Optional[Data] = None
    devices: dict[str, DeviceSettings] = field(default_factory=dict)

    @property
    def n_early_exits(self) -> int:
        return len(self.exits) - 1

    def macs_to(self, exit_index: int, skipped: frozenset[str] = frozenset()) -> int:
        """MACs of everything that ran for an input leaving at `exit_index`, less the components in `skipped`."""
        last = self.exits[exit_index].component
        total = 0
        for component in self.components:
            if component.name not in skipped:
                total += component.macs
            if component.name == last:
                break
        return total


def parse_manifest(data: bytes) -> Manifest:
    """Bytes of `manifest.json` to a checked `Manifest`.

    Raises:
        BundleError: the text is not JSON of this schema, of another major version, or contradicts itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise _refuse(f"{len(data)} bytes; at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refuse(f"it is not UTF-8: {error}") from None
    value = parse_json(text, _refuse)
    newer_minor = _check_version(value)
    manifest = decode(Manifest, value, _refuse, ignore_unknown=newer_minor)
    for rule in _RULES:
        rule(manifest)
    return manifest


def _refuse(reason: str) -> BundleError:
    return BundleError(f"manifest.json: {reason}", "Export the bundle again, or copy it again from where it was made.")


def _check_version(value: object) -> bool:
    """True where the document is of a newer minor version, whose unknown fields are to be ignored."""
    version = value.get("schema_version") if isinstance(value, dict) else None
    parts = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", version) if isinstance(version, str) else None
    if parts is None:
        raise _refuse(f"schema_version: expected {SCHEMA_VERSION!r}, found {version!r}")
    major, minor = (int(part) for part in SCHEMA_VERSION.split("."))
    if int(parts[1]) != major:
        raise BundleError(
            f"manifest.json: schema_version {version} cannot be read by this runtime, which reads {major}.x",
            "Install the eetool-runtime that goes with it, or export the bundle with this one.",
        )
    return int(parts[2]) > minor


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise _refuse(reason)


def _check_names(m: Manifest) -> None:
    names = [m.name, *m.tensors]
    names += [c.name for c in m.components] + [i.name for i in m.inputs] + [e.temperature for e in m.exits]
    names += [point for v in m.variants.values() for point in v.operating_points]
    for name in names:
        _require(_NAME.fullmatch(name) is not None, f"{name!r} is not a name (letters, digits, '.', '_', '-')")
    for variant in m.variants:
        _require(re.fullmatch(r"(onnx|tflite)/(fp32|int8)", variant) is not None, f"variants: unknown {variant!r}")


def _check_shapes(m: Manifest) -> None:
    records: list[tuple[str, Union[Input, Tensor]]] = [(f"inputs.{i.name}", i) for i in m.inputs]
    records += [(f"tensors.{name}", tensor) for name, tensor in m.tensors.items()]
    for where, tensor in records:
        _require(tensor.dtype in DTYPES, f"{where}.dtype: unknown {tensor.dtype!r}")
        _require(0 < len(tensor.shape) <= 8, f"{where}.shape: {len(tensor.shape)} dimensions; 1 to 8 are allowed")
        elements = 1
        for size in tensor.shape:
            named = isinstance(size, str) and _NAME.fullmatch(size) is not None
            _require(named or (isinstance(size, int) and size > 0), f"{where}.shape: {size!r} is no dimension")
            elements *= size if isinstance(size, int) else 1
        _require(elements <= _MAX_ELEMENTS, f"{where}.shape: {elements} elements are too many")
    for item in m.inputs:
        if item.preprocess is not None:
            channels = item.shape[1] if len(item.shape) == 4 else None
            widths = {len(item.preprocess.mean), len(item.preprocess.std)}
            _require(widths == {channels}, f"inputs.{item.name}.preprocess: one mean and std per channel is needed")
            _require(all(s > 0 for s in item.preprocess.std), f"inputs.{item.name}.preprocess.std: must be positive")


def _check_wiring(m: Manifest) -> None:
    _require(len(m.inputs) > 0, "inputs: at least one is needed")
    _require(len(m.exits) > 0, "exits: at least the final one is needed")
    _require(len(m.components) > 0, "components: at least one is needed")
    known = {i.name for i in m.inputs} | {e.temperature for e in m.exits}
    _require(len(known) == len(m.inputs) + len(m.exits), "inputs and temperatures: names must differ")
    producer: dict[str, str] = {}
    for c in m.components:
        where = f"components.{c.name}"
        _require(c.kind in ("segment", "exit", "joined"), f"{where}.kind: unknown {c.kind!r}")
        _require(c.macs >= 0 and c.parameters >= 0, f"{where}: macs and parameters cannot be negative")
        for name in c.inputs:
            _require(name in known, f"{where}.inputs: {name!r} is made by no input and no earlier component")
        for name in c.outputs:
            _require(name not in known, f"{where}.outputs: {name!r} exists already")
            _require(name in m.tensors, f"{where}.outputs: {name!r} has no entry in tensors")
            known.add(name)
            producer[name] = c.name
    names = [c.name for c in m.components]
    _require(len(set(names)) == len(names), "components: names must differ")
    for index, e in enumerate(m.exits):
        for name in (e.logits, e.confidence):
            _require(producer.get(name) == e.component, f"exits[{index}]: {e.component!r} does not make {name!r}")
        shape = m.tensors[e.logits].shape
        _require(len(shape) == 2 and shape[1] == len(m.labels), f"exits[{index}]: logits do not match the labels")
        _require(len(m.tensors[e.confidence].shape) == 1, f"exits[{index}]: confidence must be one number per input")
    order = [names.index(e.component) for e in m.exits]
    _require(order == sorted(set(order)), "exits: they must follow the order of the components")


def _check_policies(m: Manifest) -> None:
    _require(len(m.variants) > 0, "variants: at least one is needed")
    names = {c.name for c in m.components}
    for key, v in m.variants.items():
        where = f"variants.{key}"
        _require(set(v.components) == names, f"{where}.components: must name every component and nothing else")
        _require(v.batch is None or v.batch > 0, f"{where}.batch: must be positive or null")
        _require(len(v.temperatures) == len(m.exits), f"{where}.temperatures: one per exit is needed")
        _require(all(t > 0 for t in v.temperatures), f"{where}.temperatures: must be positive")
        _require(m.default_operating_point in v.operating_points, f"{where}: {m.default_operating_point!r} is missing")
        for name, point in v.operating_points.items():
            at = f"{where}.operating_points.{name}.thresholds"
            _require(len(point.thresholds) == m.n_early_exits, f"{at}: one per early exit is needed")
            _require(all(t is None or 0 <= t <= NEVER for t in point.thresholds), f"{at}: must lie in [0, {NEVER}]")
            _check_expected(m, f"{where}.operating_points.{name}.expected", point.expected)


def _check_expected(m: Manifest, where: str, e: Optional[Expected]) -> None:
    if e is None:
        return
    _require(e.n > 0 and 0 <= e.accuracy <= 1, f"{where}: accuracy and n are out of range")
    _require(len(e.exit_shares) == len(m.exits) == len(e.reached), f"{where}: one share per exit is needed")
    _require(math.isclose(sum(e.exit_shares), 1, abs_tol=1e-6), f"{where}.exit_shares: must sum to 1")


def _check_files(m: Manifest) -> None:
    for path, file in m.files.items():
        _require(_PATH.fullmatch(path) is not None, f"files: {path!r} is not a plain relative path")
        _require(_SHA256.fullmatch(file.sha256) is not None, f"files.{path}.sha256: not a SHA-256")
        _require(file.size_bytes >= 0, f"files.{path}.size_bytes: cannot be negative")
    used = [m.samples]
    for v in m.variants.values():
        used += [g.path for g in v.components.values()] + list(v.references.values()) + [v.samples]
    for path in used:
        _require(path in m.files, f"files: {path!r} is used and not listed")


_RULES = (_check_names, _check_shapes, _check_wiring, _check_policies, _check_files)
