"""What `manifest.json` says: the records, and the rules between them that types alone cannot state.

The normative text is `docs/bundle-format.md`; names and meanings here follow it.
"""

from __future__ import annotations

import math
import re
from dataclasses import field
from typing import Optional, Union

from .errors import BundleError
from .records import dataclass, decode, parse_json

SCHEMA_VERSION = "1.0"
MAX_MANIFEST_BYTES = 1 << 20
DTYPES = ("float32", "int64", "int32", "uint8", "int8", "bool")
KINDS = ("segment", "exit", "joined")
PRECISIONS = ("fp32", "int8")
MAX_SAMPLES_TOLERANCES = {"fp32": 1e-3, "int8": 0.1}  # by precision; no export writes more
NEVER = 2.0  # the threshold of a gate that cannot fire: confidences end at 1.0

BATCH = "batch"  # the symbol of the first dimension of every input, of all logits and of all confidences

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}")  # nothing that a terminal would obey
NAME_RULE = "letters, digits, '.', '_', '-'"
TEXT_RULE = "1 to 256 characters are needed, no control characters"
_VARIANT = re.compile(r"[a-z0-9]+/[a-z0-9]+(-[a-z0-9]+)*")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")
_MAX_REASON = 400
_MAX_PATH = 240
_MAX_ELEMENTS = 1 << 31
_MAX_FILE_BYTES = 1 << 31  # what the graph formats themselves can hold
_MAX_THREADS = 1024
_MAX_SCALE = 1e6  # of temperatures and deviations, its inverse the least: float32 can divide by them


@dataclass(frozen=True)
class Tensor:
    """A tensor between components. A dimension is a size or a symbol that stands for one size within a call."""

    dtype: str
    shape: tuple[Union[int, str], ...]


@dataclass(frozen=True)
class Preprocess:
    """Raw uint8 pixels (H, W, C) to the model's input: `(pixel * scale - mean) / std`, then channels first."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Text:
    """Text to token ids, see `preprocess.token_ids`: word i of `vocabulary` has the id i + 3."""

    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class Input:
    """A model input, made from an image or from a text; both null where the caller brings finished tensors."""

    name: str
    dtype: str
    shape: tuple[Union[int, str], ...]
    preprocess: Optional[Preprocess] = None
    text: Optional[Text] = None


@dataclass(frozen=True)
class Exit:
    """One exit: the tap it sits on (null for the final exit) and the names of its tensors.

    `temperature` is a scalar input; with Platt's calibration `slope` and `offset` are two more.
    """

    tap: Optional[str]
    component: str
    logits: str
    confidence: str
    temperature: str
    slope: Optional[str] = None
    offset: Optional[str] = None

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of all its scalar inputs."""
        return tuple(name for name in (self.temperature, self.slope, self.offset) if name is not None)


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
    """One component in one variant, and how far it was from the model; `tolerance` is null where it may be far."""

    path: str
    precision: str
    max_abs_error: float
    tolerance: Optional[float]


@dataclass(frozen=True)
class ReachedConfidence:
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
    reached: tuple[Optional[ReachedConfidence], ...]


@dataclass(frozen=True)
class Certificate:
    """A promise: with probability `confidence` new data loses no more than `max_accuracy_drop` points by leaving early.

    Of `n` examples the cascade alone answered `worse` wrongly, full depth alone `better`.
    """

    method: str
    confidence: float
    max_accuracy_drop: float
    n: int
    worse: int
    better: int
    p_value: float


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold per early exit; null never fires."""

    thresholds: tuple[Optional[float], ...]
    expected: Optional[Expected] = None
    certificate: Optional[Certificate] = None


@dataclass(frozen=True)
class Variant:
    """One format and precision of every component, with the policy fitted on exactly these graphs.

    `batch` is null where any batch size runs. `tensors` holds those that look otherwise than in the manifest's own.
    """

    components: dict[str, GraphFile]
    temperatures: tuple[float, ...]
    operating_points: dict[str, OperatingPoint]
    samples: str
    samples_tolerance: float
    batch: Optional[int] = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Split:
    """How many examples a split holds, and the SHA-256 of their sorted int64 little-endian indices."""

    n: int
    sha256: str


@dataclass(frozen=True)
class Data:
    """The data that the figures stand on."""

    source: str
    splits: dict[str, Split]


@dataclass(frozen=True)
class Measured:
    """One variant on one device: the thread count to use there, and medians."""

    threads: int
    component_latency_ms: dict[str, float]


@dataclass(frozen=True)
class DeviceSettings:
    """What was measured on one device; `machine` is its board's name, or its processor's where it has none."""

    machine: str
    variants: dict[str, Measured]


@dataclass(frozen=True)
class File:
    """Size and hash of one file of the bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """All of `manifest.json`."""

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
    unsplit_macs: Optional[int] = None
    max_accuracy_drop: Optional[float] = None
    data: Optional[Data] = None
    devices: dict[str, DeviceSettings] = field(default_factory=dict)

    @property
    def n_early_exits(self) -> int:
        """Exits before the final one; also the index of the final exit."""
        return len(self.exits) - 1


def scalars(m: Manifest, variant: Variant) -> dict[str, float]:
    """What is bound to every scalar input: temperatures, and slopes and offsets where exits have them."""
    values = [variant.temperatures]
    if m.exits[0].slope is not None:
        values += [variant.slopes, variant.offsets]
    return {name: value for e, *found in zip(m.exits, *values) for name, value in zip(e.scalars, found)}


def all_tensors(m: Manifest, variant: str) -> dict[str, Tensor]:
    """Every tensor that a graph of `variant` may read or make."""
    known = {i.name: Tensor(i.dtype, i.shape) for i in m.inputs}
    known.update({name: Tensor("float32", ()) for e in m.exits for name in e.scalars})
    return {**known, **m.tensors, **m.variants[variant].tensors}


def describe_tensor(tensor: Union[Input, Tensor]) -> str:
    """A tensor in words: `float32 (batch, 3, 32, 32)`."""
    return f"{tensor.dtype} ({', '.join(str(size) for size in tensor.shape)})"


def is_name(value: str) -> bool:
    """Return whether a manifest may call a tensor, an input or an operating point so."""
    return _NAME.fullmatch(value) is not None


def is_text(value: str) -> bool:
    """Return whether a manifest may hold this label, word, tap or name of data."""
    return _TEXT.fullmatch(value) is not None


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
    shown = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
    return BundleError(f"manifest.json: {shown}", "Export the bundle again, or copy it again from where it was made.")


def _check_version(value: object) -> bool:
    """True where the document is of a newer minor version, whose unknown fields are to be ignored."""
    version = value.get("schema_version") if isinstance(value, dict) else None
    parts = _VERSION.fullmatch(version) if isinstance(version, str) else None
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
    names = [m.name, m.score, *m.tensors]
    names += [c.name for c in m.components] + [i.name for i in m.inputs] + [name for e in m.exits for name in e.scalars]
    names += [key for v in m.variants.values() for key in (*v.operating_points, *v.references)]
    for name in names:
        _require(is_name(name), f"{name!r} is not a name ({NAME_RULE})")
    for variant in m.variants:
        _require(_VARIANT.fullmatch(variant) is not None, f"variants: {variant!r} is not FORMAT/PRECISION")


def _check_texts(m: Manifest) -> None:
    texts = [word for i in m.inputs if i.text is not None for word in i.text.vocabulary]
    texts += [*m.labels, *m.producer, *m.producer.values(), *(e.tap for e in m.exits if e.tap is not None)]
    texts += [*m.devices, *(d.machine for d in m.devices.values())]
    texts += [p.expected.split for v in m.variants.values() for p in v.operating_points.values() if p.expected]
    if m.data is not None:
        texts += [m.data.source, *m.data.splits]
    for text in texts:
        _require(is_text(text), f"{text!r}: {TEXT_RULE}")


def _check_shapes(m: Manifest) -> None:
    records: list[tuple[str, Union[Input, Tensor]]] = [(f"inputs.{i.name}", i) for i in m.inputs]
    records += [(f"tensors.{name}", tensor) for name, tensor in m.tensors.items()]
    for key, v in m.variants.items():
        records += [(f"variants.{key}.tensors.{name}", tensor) for name, tensor in v.tensors.items()]
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
        _require(item.shape[0] == BATCH, f"inputs.{item.name}.shape: the first dimension must be {BATCH!r}")
        if item.preprocess is not None:
            _check_preprocess(f"inputs.{item.name}", item, item.preprocess)
        if item.text is not None:
            _check_text(f"inputs.{item.name}", item, item.text)


def _check_preprocess(where: str, item: Input, rule: Preprocess) -> None:
    image = len(item.shape) == 4 and all(isinstance(size, int) for size in item.shape[1:])
    _require(image and item.dtype == "float32", f"{where}.preprocess: needs float32 (batch, channels, height, width)")
    widths = {len(rule.mean), len(rule.std)}
    _require(widths == {item.shape[1]}, f"{where}.preprocess: one mean and one std per channel is needed")
    _require(all(_divides(s) for s in rule.std), f"{where}.preprocess.std: must lie in [1e-6, 1e6]")


def _check_text(where: str, item: Input, rule: Text) -> None:
    ids = len(item.shape) == 2 and isinstance(item.shape[1], int) and item.dtype == "int64"
    _require(ids and item.preprocess is None, f"{where}.text: needs int64 (batch, tokens) and no preprocess")
    _require(len(set(rule.vocabulary)) == len(rule.vocabulary), f"{where}.text.vocabulary: words must differ")


def _divides(number: float) -> bool:
    return 1 / _MAX_SCALE <= number <= _MAX_SCALE


def _check_wiring(m: Manifest) -> None:
    _require(len(m.inputs) > 0, "inputs: at least one is needed")
    _require(len(m.exits) > 0, "exits: at least the final one is needed")
    calibrated = {(e.slope is not None, e.offset is not None) for e in m.exits}
    _require(calibrated in ({(False, False)}, {(True, True)}), "exits: all or none have a slope and an offset")
    given = [i.name for i in m.inputs] + [name for e in m.exits for name in e.scalars]
    known = set(given)
    _require(len(known) == len(given), "inputs and temperatures: names must differ")
    made: set[str] = set()
    for c in m.components:
        where = f"components.{c.name}"
        _require(c.kind in KINDS, f"{where}.kind: unknown {c.kind!r}")
        _require(c.macs >= 0 and c.parameters >= 0, f"{where}: macs and parameters cannot be negative")
        _require(len(set(c.inputs)) == len(c.inputs), f"{where}.inputs: names must differ")
        for name in c.inputs:
            _require(name in known, f"{where}.inputs: {name!r} is made by no input and no earlier component")
        for name in c.outputs:
            _require(name not in known, f"{where}.outputs: {name!r} exists already")
            _require(name in m.tensors, f"{where}.outputs: {name!r} has no entry in tensors")
            known.add(name)
            made.add(name)
    names = [c.name for c in m.components]
    _require(len(set(names)) == len(names), "components: names must differ")
    for name in m.tensors:
        _require(name in made, f"tensors.{name}: no component makes it")
    _require(m.unsplit_macs is None or m.unsplit_macs >= 0, "unsplit_macs: cannot be negative")


def _check_exits(m: Manifest) -> None:
    components = {c.name: c for c in m.components}
    for index, e in enumerate(m.exits):
        _require(e.component in components, f"exits[{index}].component: there is no component {e.component!r}")
        for name in (e.logits, e.confidence):
            made = name in components[e.component].outputs
            _require(made, f"exits[{index}]: the component {e.component!r} does not make {name!r}")
        shaped = m.tensors[e.logits] == Tensor("float32", (BATCH, len(m.labels)))
        _require(shaped, f"exits[{index}].logits: must be float32 ({BATCH}, {len(m.labels)}), one per label")
        shaped = m.tensors[e.confidence] == Tensor("float32", (BATCH,))
        _require(shaped, f"exits[{index}].confidence: must be float32 ({BATCH}), one number per input")
    order = [list(components).index(e.component) for e in m.exits]
    _require(order == sorted(set(order)), "exits: they must follow the order of the components, one in each")
    heads = {c.name for c in m.components if c.kind != "segment"}
    _require(
        heads == {e.component for e in m.exits}, "exits: every component but a segment needs an exit, and no other"
    )


def _check_variants(m: Manifest) -> None:
    _require(len(m.variants) > 0, "variants: at least one is needed")
    names = {c.name for c in m.components}
    answers = {name for e in m.exits for name in (e.logits, e.confidence)}
    for key, v in m.variants.items():
        where = f"variants.{key}"
        _require(set(v.components) == names, f"{where}.components: must name every component and nothing else")
        most = MAX_SAMPLES_TOLERANCES.get(key.split("/")[1], max(MAX_SAMPLES_TOLERANCES.values()))
        _require(0 <= v.samples_tolerance <= most, f"{where}.samples_tolerance: must lie in [0, {most}]")
        _require(v.batch is None or v.batch > 0, f"{where}.batch: must be positive or null")
        for name in v.tensors:
            free = name in m.tensors and name not in answers
            _require(free, f"{where}.tensors: {name!r} is no tensor between components")
        for name, g in v.components.items():
            at = f"{where}.components.{name}"
            _require(g.precision in PRECISIONS, f"{at}.precision: unknown {g.precision!r}")
            _require(min(g.max_abs_error, g.tolerance or 0.0) >= 0, f"{at}: errors cannot be negative")
        for path in (*(g.path for g in v.components.values()), *v.references.values()):
            _require(path.endswith("." + key.split("/")[0]), f"{where}: {path!r} is no {key.split('/')[0]} file")
        _check_policy(m, where, v)


def _check_policy(m: Manifest, where: str, v: Variant) -> None:
    _require(len(v.temperatures) == len(m.exits), f"{where}.temperatures: one per exit is needed")
    _require(all(_divides(t) for t in v.temperatures), f"{where}.temperatures: must lie in [1e-6, 1e6]")
    wanted = len(m.exits) if m.exits[0].slope is not None else 0
    for name, values in (("slopes", v.slopes), ("offsets", v.offsets)):
        _require(len(values) == wanted, f"{where}.{name}: one per exit that has one is needed")
    _require(all(_divides(s) for s in v.slopes), f"{where}.slopes: must lie in [1e-6, 1e6]")
    _require(all(abs(o) <= _MAX_SCALE for o in v.offsets), f"{where}.offsets: must lie in [-1e6, 1e6]")
    default = m.default_operating_point
    _require(default in v.operating_points, f"{where}.operating_points: the default {default!r} is missing")
    for name, point in v.operating_points.items():
        at = f"{where}.operating_points.{name}"
        _require(len(point.thresholds) == m.n_early_exits, f"{at}.thresholds: one per early exit is needed")
        for t in point.thresholds:
            _require(t is None or 0 <= t <= NEVER, f"{at}.thresholds: {t} does not lie in [0, {NEVER}]")
        if point.expected is not None:
            _check_expected(m, f"{at}.expected", point.expected)
        if point.certificate is not None:
            _check_certificate(f"{at}.certificate", point.certificate)


def _check_expected(m: Manifest, where: str, e: Expected) -> None:
    _require(e.n > 0 and 0 <= e.accuracy <= 1, f"{where}: accuracy or n is out of range")
    _require(len(e.exit_shares) == len(m.exits), f"{where}.exit_shares: one per exit is needed")
    _require(len(e.reached) == len(m.exits), f"{where}.reached: one entry per exit is needed")
    shares = all(share >= 0 for share in e.exit_shares) and math.isclose(sum(e.exit_shares), 1, abs_tol=1e-6)
    _require(shares, f"{where}.exit_shares: must be shares that sum to 1")
    _require(0 <= e.mean_exit_depth <= m.n_early_exits, f"{where}.mean_exit_depth: is out of range")
    _require(e.mean_macs >= 0, f"{where}.mean_macs: cannot be negative")
    for r in e.reached:
        sound = r is None or (0 < r.n <= e.n and 0 <= r.confidence_mean <= 1 and 0 <= r.confidence_std <= 1)
        _require(sound, f"{where}.reached: a number is out of range")


def _check_certificate(where: str, c: Certificate) -> None:
    _require(_TEXT.fullmatch(c.method) is not None, f"{where}.method: 1 to 256 characters are needed")
    _require(0 < c.confidence < 1 and 0 <= c.max_accuracy_drop <= 100, f"{where}: the promise is out of range")
    sound = min(c.worse, c.better) >= 0 and c.n > 0 and c.worse + c.better <= c.n and 0 <= c.p_value <= 1
    _require(sound, f"{where}: a number is out of range")


def _check_data(m: Manifest) -> None:
    drop = m.max_accuracy_drop
    _require(drop is None or 0 <= drop <= 100, "max_accuracy_drop: must lie in [0, 100] or be null")
    for name, split in (m.data.splits if m.data else {}).items():
        sound = split.n >= 0 and _SHA256.fullmatch(split.sha256) is not None
        _require(sound, f"data.splits.{name}: a count and a SHA-256 are needed")


def _check_devices(m: Manifest) -> None:
    names = {c.name for c in m.components}
    for device, settings in m.devices.items():
        for key, measured in settings.variants.items():
            where = f"devices.{device}.variants.{key}"
            _require(key in m.variants, f"{where}: there is no such variant")
            _require(1 <= measured.threads <= _MAX_THREADS, f"{where}.threads: must lie in [1, {_MAX_THREADS}]")
            times = measured.component_latency_ms
            _require(set(times) <= names, f"{where}.component_latency_ms: names a component that is not there")
            _require(all(t >= 0 for t in times.values()), f"{where}.component_latency_ms: cannot be negative")


def _check_files(m: Manifest) -> None:
    for path, file in m.files.items():
        plain = len(path) <= _MAX_PATH and _PATH.fullmatch(path) is not None
        _require(plain, f"files: {path!r} is not a plain relative path")
        _require(_SHA256.fullmatch(file.sha256) is not None, f"files.{path}.sha256: not a SHA-256")
        sound = 0 <= file.size_bytes <= _MAX_FILE_BYTES
        _require(sound, f"files.{path}.size_bytes: must lie in [0, {_MAX_FILE_BYTES}]")
    used = [m.samples]
    for v in m.variants.values():
        used += [g.path for g in v.components.values()] + list(v.references.values()) + [v.samples]
    for path in used:
        _require(path in m.files, f"files: {path!r} is used and not listed")


_RULES = (
    _check_names,
    _check_texts,
    _check_shapes,
    _check_wiring,
    _check_exits,
    _check_variants,
    _check_data,
    _check_devices,
    _check_files,
)
