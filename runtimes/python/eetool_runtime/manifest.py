"""Records of `manifest.json`, the description of a bundle.

The normative text is `docs/bundle-format.md`; names and meanings here follow it. `manifest_checks` holds the rules
between the fields, and `manifest_parser` reads the file.
"""

from __future__ import annotations

from dataclasses import field
from typing import Optional, Union

from .manifest_figures import Certificate as Certificate
from .manifest_figures import Expected as Expected
from .manifest_figures import ReachedConfidence as ReachedConfidence
from .manifest_offload import OffloadSpec as OffloadSpec
from .records import dataclass

SCHEMA_VERSION = "1.0"  # of bundles that every reader reads
NEWEST_VERSION = "1.1"  # where a variant has all components in one file, or there are `stream` or `offload`
SHARED_FILE_SUFFIX = ".tflites"  # readers of 1.0 refuse it before they ask for a backend
MAX_MANIFEST_BYTES = 1 << 20
DTYPES = ("float32", "int64", "int32", "uint8", "int8", "bool")
KINDS = ("segment", "exit", "joined")
PRECISIONS = ("fp32", "int8")
MAX_SAMPLES_TOLERANCES = {"fp32": 1e-3, "int8": 0.1}  # by precision; no export writes more
RUNS, UNICODE_17 = SEGMENTATIONS = ("runs", "unicode-17")  # rules that split texts into words
FITS = CROP, PAD, STRETCH = ("crop", "pad", "stretch")  # how a picture of another size becomes the model's
BILINEAR = "bilinear"
FILTERS = (BILINEAR,)
NEVER = 2.0  # threshold of a gate that cannot fire: confidences are at most 1.0

LATER = {"later": True}  # of a field that version 1.0 does not have: where it has its default, it is not written
BATCH = "batch"  # symbol of the first dimension of every input, of all logits and of all confidences


@dataclass(frozen=True)
class Tensor:
    """A tensor between components. A dimension is a size or a symbol that stands for one size within a call."""

    dtype: str
    shape: tuple[Union[int, str], ...]


@dataclass(frozen=True)
class Resize:
    """Rule that brings a picture of any size to the model's, see `resize`.

    Attributes:
        fit: `crop`, `pad` or `stretch`.
        filter: `bilinear`, widened by the factor of a reduction.
    """

    fit: str = CROP
    filter: str = BILINEAR


@dataclass(frozen=True)
class Preprocess:
    """Image preprocessing, uint8 (H, W, C) to float32 (C, H, W): `(pixel * scale - mean) / std`, channels first.

    Attributes:
        scale: factor of a pixel.
        mean: of every channel, after scaling.
        std: standard deviation of every channel, after scaling.
        resize: what comes before; None where only pictures of the model's size are accepted.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Optional[Resize] = None


@dataclass(frozen=True)
class Text:
    """Text tokenization: word i of `vocabulary` has the id i + 3, see `preprocess.token_ids`.

    Attributes:
        vocabulary: words.
        segmentation: how texts are split into words, see `word_segmentation`.
    """

    vocabulary: tuple[str, ...]
    segmentation: str = RUNS


@dataclass(frozen=True)
class Input:
    """A model input.

    Attributes:
        preprocess: how an image becomes the tensor; None where the caller gives finished tensors.
        text: how a text becomes the tensor; None likewise.
        picture: inputs with the same name here are views of one picture, such as in several sizes; None for an input of
            its own.
    """

    name: str
    dtype: str
    shape: tuple[Union[int, str], ...]
    preprocess: Optional[Preprocess] = None
    text: Optional[Text] = None
    picture: Optional[str] = None


@dataclass(frozen=True)
class Exit:
    """One exit and the names of its tensors.

    Attributes:
        tap: the module of the backbone that the exit is attached to; None for the final exit.
        component: name of the component that computes the exit.
        logits: name of its logits, float32 (batch, classes).
        confidence: name of its confidence, float32 (batch,).
        temperature: name of a scalar input.
        slope: name of a scalar input of Platt scaling.
        offset: name of another one.
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
        """Names of all scalar inputs of this exit."""
        return tuple(name for name in (self.temperature, self.slope, self.offset) if name is not None)


@dataclass(frozen=True)
class Component:
    """One graph of the cascade; every variant has the same interface. MACs are at batch 1."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    parameters: int


@dataclass(frozen=True)
class GraphFile:
    """The file of one component in one variant.

    Attributes:
        path: within the bundle.
        precision: `fp32` or `int8`.
        max_abs_error: largest difference from the PyTorch model that was measured.
        tolerance: largest difference that was allowed; None where it is unbounded.
    """

    path: str
    precision: str
    max_abs_error: float
    tolerance: Optional[float]


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold per early exit; None never fires."""

    thresholds: tuple[Optional[float], ...]
    expected: Optional[Expected] = None
    certificate: Optional[Certificate] = None


@dataclass(frozen=True)
class Variant:
    """One format and precision of every component, with the policy fitted on exactly these graphs.

    Attributes:
        components: the graph file of each component.
        temperatures: one per exit.
        operating_points: by name.
        samples: path of the reference outputs.
        samples_tolerance: largest difference from them that passes verification.
        batch: the fixed batch size; None where any size runs.
        tensors: tensors whose type differs from the manifest's own.
        references: path of each graph that the components were split from.
        slopes: one per exit with Platt scaling, else empty.
        offsets: likewise.
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

    @property
    def shared_file(self) -> Optional[str]:
        """Path of the file that holds all components, a signature each; None where each has a file of its own."""
        paths = (graph.path for graph in self.components.values())
        return next((path for path in paths if path.endswith(SHARED_FILE_SUFFIX)), None)


@dataclass(frozen=True)
class StreamPolicy:
    """Rule of a stream of frames, see `stream_filter`.

    Attributes:
        epsilon: share of the base rates in the prior of every frame; 1 forgets the frames before.
        thresholds: one per early exit, for the largest posterior probability; None never fires.
        agree: an exit fires only if its own class is also that of the posterior.
        check_every: of so many consecutive frames, one at least runs to the final exit; 0 demands none.
        skip_distance: largest distance from exit 0's probabilities at the scene's start that repeats the answer.
        gap_s: longest time between two frames of one sequence.
    """

    epsilon: float
    thresholds: tuple[Optional[float], ...]
    agree: bool = True
    check_every: int = 0
    skip_distance: Optional[float] = None
    gap_s: Optional[float] = None


@dataclass(frozen=True)
class StreamExpected:
    """Figures of a stream policy on `n` frames of a held-out split; docs/streams.md defines them."""

    split: str
    n: int
    sequences: int
    accuracy: float
    exit_shares: tuple[float, ...]
    mean_macs: float
    reached: tuple[Optional[ReachedConfidence], ...]
    reaction_mean_s: Optional[float] = None
    reaction_p95_s: Optional[float] = None
    false_switches_per_minute: Optional[float] = None


@dataclass(frozen=True)
class StreamPoint:
    """One operating point of streams."""

    policy: StreamPolicy
    expected: Optional[StreamExpected] = None


@dataclass(frozen=True)
class Stream:
    """Policies for streams of frames.

    Attributes:
        period_s: time from one frame to the next that the policies were fitted for.
        base_rates: share of each class in the training examples.
        default_operating_point: of streams.
        operating_points: by variant and name.
    """

    period_s: float
    base_rates: tuple[float, ...]
    default_operating_point: str
    operating_points: dict[str, dict[str, StreamPoint]]


@dataclass(frozen=True)
class Split:
    """Size of a data split, and the SHA-256 of its sorted int64 little-endian indices."""

    n: int
    sha256: str


@dataclass(frozen=True)
class Data:
    """The data that the figures were measured on."""

    source: str
    splits: dict[str, Split]


@dataclass(frozen=True)
class Measured:
    """Measurement of one variant on one device: the recommended thread count and median latencies."""

    threads: int
    component_latency_ms: dict[str, float]


@dataclass(frozen=True)
class DeviceSettings:
    """Measurements of one device; `machine` is the name of its board, or else of its processor."""

    machine: str
    variants: dict[str, Measured]


@dataclass(frozen=True)
class File:
    """Size and hash of one file of the bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """The whole document."""

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
    stream: Optional[Stream] = field(default=None, metadata=LATER)
    offload: Optional[OffloadSpec] = field(default=None, metadata=LATER)

    @property
    def n_early_exits(self) -> int:
        """Number of exits before the final one; also the index of the final exit."""
        return len(self.exits) - 1


def scalars(m: Manifest, variant: Variant) -> dict[str, float]:
    """Return the value of every scalar input: temperatures, and slopes and offsets where exits have them."""
    values = [variant.temperatures]
    if m.exits[0].slope is not None:
        values += [variant.slopes, variant.offsets]
    return {name: value for e, *own in zip(m.exits, *values) for name, value in zip(e.scalars, own)}


def all_tensors(m: Manifest, variant: str) -> dict[str, Tensor]:
    """Return the type of every tensor that a graph of `variant` may read or write."""
    inputs = {i.name: Tensor(i.dtype, i.shape) for i in m.inputs}
    inputs.update({name: Tensor("float32", ()) for e in m.exits for name in e.scalars})
    return {**inputs, **m.tensors, **m.variants[variant].tensors}


def describe_tensor(tensor: Union[Input, Tensor]) -> str:
    """Return dtype and shape as text: `float32 (batch, 3, 32, 32)`."""
    return f"{tensor.dtype} ({', '.join(str(size) for size in tensor.shape)})"
