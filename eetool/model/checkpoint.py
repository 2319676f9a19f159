"""model.pt: what the model is (a record) and its tensors, read with `weights_only=True` and never as code."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError
from eetool.model.branches import Branch, BranchSpec
from eetool.model.checkpoint_rules import check
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.ensemble import Ensemble
from eetool.model.goals import TuningGoals
from eetool.model.references.reference_check import sized_by_name, vet
from eetool.model.references.resolve import build, zero_inputs
from eetool.model.references.size_check import TooLargeError, check_size
from eetool.records import open_regular, write_atomic
from eetool_measure.records import encode
from eetool_runtime.manifest import Data, Input, OperatingPoint
from eetool_runtime.records import Refuse, decode, parse_json

FORMAT = "eetool-model/1"
_MAX_REASON = 300  # characters
_MAX_EXIT_PARAMETERS = 1 << 28


@dataclass(frozen=True)
class ModelSpec:
    """Enough to build the network again: a backbone reference and the exits on it, from shallow to deep.

    `config` is what the reference needs beside its name: what a transformers configuration says beyond its defaults.
    With `learned_confidence` every early exit has a second head, which says how sure it is. With `cascade` an exit's
    classifier reads the answer of the exit before; with `ensemble` it answers together with it.
    """

    backbone: str
    inputs: tuple[Input, ...]
    labels: tuple[str, ...]
    taps: tuple[str, ...]
    branches: tuple[str, ...]
    config: dict[str, Any] | None = None
    learned_confidence: bool = False
    cascade: bool = False
    ensemble: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """Labels, taps and words, which a bundle will hold."""
        words = [word for i in self.inputs if i.text is not None for word in i.text.vocabulary]
        return (*self.labels, *self.taps, *words)


@dataclass(frozen=True)
class LossOptions:
    """What the loss of a recipe is made of.

    Attributes:
        exit_weights: of every exit's loss, the final one included; none are 1 each.
        ramp: the weights of early exits rise during the run.
        distill_share: what part of an exit's loss comes from a teacher, with answers softened by
            `distill_temperature`.
        teacher: name and hash of the network that teaches, beside the deepest exit.
        teacher_views: how many versions of the augmented data the run repeats, 0 for no repetition.
        survivors: where in the run, in [0, 1], exits begin to learn most from the examples that reach them.
        targets: `labels`, or `backbone`: a frozen backbone's own answers take their place.
        cost_weight: λ of the recipe `confidence`, the price of the backbone's whole cost.
        gradient_scaling: shared layers are led by a mean over exits, see `eetool.train.gradient_scaling`.
    """

    label_smoothing: float = 0.0
    exit_weights: tuple[float, ...] = ()
    ramp: bool = False
    distill_share: float = 0.5
    distill_temperature: float = 3.0
    teacher: str | None = None
    teacher_views: int = 0
    survivors: float | None = None
    targets: str = "labels"
    cost_weight: float = 0.5
    gradient_scaling: bool = False


@dataclass(frozen=True)
class TrainingSettings:
    """How the weights came about.

    Attributes:
        hold_out: where the examples that are held out come from, see `eetool.data.splits.split_source`.
        warm_up: share of the steps in which the learning rate rises to its peak.
        precision: `fp32`, or `bf16` or `fp16` for multiplications only.
        average: the weights are averaged over steps, exponentially, with this decay; 0 for the last weights.
        optimizer: `sgd` with momentum, or `adamw`, which transformers need.
        torch_device: where it was trained: `cpu`, `cuda`, …
        erase: side in pixels of the square that was erased in every image; 0 for none.
    """

    recipe: str
    epochs: int
    seed: int
    batch_size: int
    learning_rate: float
    hold_out: str = "train"
    warm_up: float = 0.15
    weight_decay: float = 5e-4
    precision: str = "fp32"
    average: float = 0.0
    optimizer: str = "sgd"
    torch_device: str = "cpu"
    erase: int = 0
    loss: LossOptions = LossOptions()


@dataclass(frozen=True)
class Policy:
    """Result of `tune`: a temperature per exit, with Platt's calibration a slope and an offset per exit, and
    thresholds per operating point. `goals` is null in files of earlier versions.
    """

    score: str
    temperatures: tuple[float, ...]
    operating_points: dict[str, OperatingPoint]
    max_accuracy_drop: float
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    goals: TuningGoals | None = None


@dataclass(frozen=True)
class CheckpointRecord:
    """Everything in a checkpoint that is not a tensor."""

    spec: ModelSpec
    training: TrainingSettings
    data: Data | None = None
    policy: Policy | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies on disk. `samples` are a few model inputs (n, ...) by input name, for the parity proof."""

    record: CheckpointRecord
    state: dict[str, Tensor]
    samples: dict[str, Tensor]

    def build(self) -> EarlyExitNet:
        """The network in eval mode; raises ArtefactError where the tensors do not fit the spec."""
        net = build_net(self.record.spec)
        try:
            net.load_state_dict(self.state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())  # torch lists every tensor, on lines of its own
            shown = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
            raise ArtefactError(f"the tensors do not fit {self.record.spec.backbone}: {shown}") from None
        return net.eval()

    def with_policy(self, policy: Policy) -> "Checkpoint":
        """The same model with another policy."""
        return replace(self, record=replace(self.record, policy=policy))


def build_net(spec: ModelSpec) -> EarlyExitNet:
    """The network of `spec` with fresh weights."""
    classes = len(spec.labels)
    backbone = build(spec.backbone, spec.inputs, classes, spec.config)
    with torch.no_grad(), capture_outputs(backbone.eval(), spec.taps) as features:
        backbone(*example_inputs(spec.inputs))
    shapes = {tap: tuple(features[tap].shape) for tap in spec.taps}
    check_size(lambda: nn.ModuleList(_exits(spec, shapes).values()), _MAX_EXIT_PARAMETERS)
    ensembles = [Ensemble(classes) for _ in spec.taps[1:]] if spec.ensemble else []
    return EarlyExitNet(backbone.train(), _exits(spec, shapes), ensembles)


def _exits(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, nn.Module]:
    """The exits by tap, for features of these shapes."""
    return {
        tap: Branch(
            BranchSpec.parse(branch),
            shapes[tap],
            len(spec.labels),
            spec.learned_confidence,
            reads_answer=spec.cascade and index > 0,
        )
        for index, (tap, branch) in enumerate(zip(spec.taps, spec.branches, strict=True))
    }


def example_inputs(inputs: tuple[Input, ...], batch: int = 1) -> tuple[Tensor, ...]:
    """Valid inputs of the shapes that `inputs` name, for tracing and counting: zeros, and masks of ones."""
    return zero_inputs(inputs, batch)


def save_checkpoint(path: Path, checkpoint: Checkpoint, force: bool = False) -> None:
    """Write atomically. The same checkpoint gives the same bytes: it is serialised to memory first.

    Raises:
        OutputError: the file exists and `force` was not given, or it cannot be written.
    """
    data = serialise({"format": FORMAT, "record": _text(checkpoint.record), **_tensors(checkpoint)})
    write_atomic(path, data, force)


def load_checkpoint(path: Path, named: Sequence[str] = ()) -> Checkpoint:
    """Read a model.pt. It may come from a stranger: nothing of it is run, and it gets no more memory than its size.

    Args:
        named: the factories that may be imported and called, as the user has named them. The file has no say in it.

    Raises:
        ArtefactError: the file is missing, not a checkpoint of eetool, of another version, or damaged.
        UsageError: its network comes from a factory that is not among `named`.
    """
    stored = load_tensors(path, FORMAT)

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", "Make it again with `eetool train`.")

    text = stored.get("record")
    if not isinstance(text, str) or not all(_are_tensors(stored.get(key)) for key in ("state", "samples")):
        raise refuse("its record or its tensors are missing")
    checkpoint = Checkpoint(
        decode(CheckpointRecord, parse_json(text, refuse), refuse), stored["state"], stored["samples"]
    )
    check(checkpoint, refuse)
    spec = checkpoint.record.spec
    vet(spec.backbone, spec.config, named, str(path), refuse)
    _check_size(checkpoint, refuse)
    return checkpoint


def serialise(value: dict[str, Any]) -> bytes:
    """torch.save to bytes; a file name would end up inside the archive and change them."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def load_tensors(path: Path, form: str) -> dict[str, Any]:
    """A dictionary saved by `serialise` whose `format` is `form`; raises ArtefactError otherwise."""
    try:
        with open_regular(path) as file:
            data = file.read()
        _refuse_inflated(data)
        stored = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}", "`eetool train` makes a model.pt.") from None
    except Exception:  # torch and zipfile raise a dozen unrelated types for a file that is none of theirs
        raise ArtefactError(f"{path}: not a model.pt, or a damaged one", "`eetool train` makes a model.pt.") from None
    stored_as = stored.get("format") if isinstance(stored, dict) else None
    if not isinstance(stored, dict) or stored_as != form:
        raise ArtefactError(
            f"{path}: expected a file of format {form!r}, found {stored_as!r}", "`eetool train` makes one."
        )
    tensors: dict[str, Any] = stored
    return tensors


def _refuse_inflated(data: bytes) -> None:
    """Raise ValueError where an archive claims to hold more than it has bytes: torch packs nothing."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(item.file_size for item in archive.infolist()) > len(data):
            raise ValueError("packed")


def _are_tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _check_size(checkpoint: Checkpoint, refuse: Refuse) -> None:
    """Refuse a network that is larger than the tensors of its file, before there is memory for it."""
    spec, state = checkpoint.record.spec, checkpoint.state
    if not sized_by_name(spec.backbone):
        return
    # Twice, and some: libraries replace parameters while they build.
    most = 2 * sum(tensor.numel() for tensor in state.values()) + (1 << 16), 2 * len(state) + 1000
    try:
        check_size(lambda: build(spec.backbone, spec.inputs, len(spec.labels), spec.config), *most)
    except TooLargeError:
        raise refuse(f"its tensors do not fit {spec.backbone}") from None


def _text(record: CheckpointRecord) -> str:
    return json.dumps(encode(record), allow_nan=False)


def _tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"state": checkpoint.state, "samples": checkpoint.samples}
