"""model.pt: the record of a model and its tensors, read with `weights_only=True` and never run as code."""

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
from eetool.model.checkpoint_rules import check_checkpoint
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.ensemble import Ensemble
from eetool.model.layouts import layout_by_sizes
from eetool.model.module_state import load_state
from eetool.model.network_cascade import NetworkCascade, member_prefix
from eetool.model.own_exits import OwnExitNet
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.reference_check import check_references, is_sized_by_name
from eetool.model.references.resolve import build
from eetool.model.references.size_check import TooLargeError, check_size
from eetool.model.spec import CheckpointRecord, ModelSpec, Policy
from eetool.records import open_regular, write_atomic
from eetool_measure.records import encode
from eetool_runtime.records import Refuse, decode, parse_json

FORMAT = "eetool-model/1"
_MAX_REASON = 300  # characters
_MAX_EXIT_PARAMETERS = 1 << 28


@dataclass(frozen=True)
class Checkpoint:
    """A model as it is stored in a file.

    Attributes:
        record: everything except the tensors.
        state: tensors of the network by name.
        samples: a few model inputs (n, …) by input name, for parity checks.
    """

    record: CheckpointRecord
    state: dict[str, Tensor]
    samples: dict[str, Tensor]

    def build(self) -> EarlyExitNet:
        """Build the network in eval mode.

        Raises:
            ArtefactError: the tensors do not fit the spec.
        """
        net = build_net(self.record.spec)
        own = net.state_dict()
        for name, tensor in self.state.items():
            if name in own and own[name].dtype != tensor.dtype:  # torch would convert integers without a word
                kinds = f"{name} is {tensor.dtype} where {own[name].dtype} is needed"
                raise ArtefactError(f"the tensors do not fit {self.record.spec.title}: {kinds}")
        try:
            load_state(net, self.state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())  # torch lists one tensor per line
            shown = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
            raise ArtefactError(f"the tensors do not fit {self.record.spec.title}: {shown}") from None
        return net.eval()

    def with_policy(self, policy: Policy) -> "Checkpoint":
        """Return the same model with another policy."""
        return replace(self, record=replace(self.record, policy=policy))


def build_net(spec: ModelSpec) -> EarlyExitNet:
    """Build the network of `spec` with fresh weights."""
    if spec.members:
        return NetworkCascade(spec, [build_net(member.spec) for member in spec.members])
    classes = len(spec.labels)
    backbone = build(spec.backbone, spec.inputs, classes, spec.config, spec.outputs)
    if spec.has_own_exits:
        return OwnExitNet(backbone.train(), spec.outputs)
    with torch.no_grad(), capture_outputs(backbone.eval(), spec.taps) as features:
        backbone(*example_inputs(spec.inputs))
    shapes = {tap: tuple(features[tap].shape) for tap in spec.taps}
    check_size(lambda: nn.ModuleList(_exits(spec, shapes).values()), _MAX_EXIT_PARAMETERS)
    ensembles = [Ensemble(classes) for _ in spec.taps[1:]] if spec.ensemble else []
    return EarlyExitNet(backbone.train(), _exits(spec, shapes), ensembles)


def _exits(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, nn.Module]:
    """Build the exits by tap, for features of these shapes."""
    layouts = spec.layouts or tuple(layout_by_sizes(shapes[tap]) for tap in spec.taps)
    return {
        tap: Branch(
            BranchSpec.parse(branch),
            shapes[tap],
            len(spec.labels),
            spec.learned_confidence,
            reads_answer=spec.cascade and index > 0,
            layout=layout,
        )
        for index, (tap, branch, layout) in enumerate(zip(spec.taps, spec.branches, layouts, strict=True))
    }


def save_checkpoint(path: Path, checkpoint: Checkpoint, force: bool = False) -> None:
    """Write a model.pt atomically; the same checkpoint gives the same bytes.

    Raises:
        OutputError: the file exists and `force` was not given, or it cannot be written.
    """
    text = json.dumps(encode(checkpoint.record), allow_nan=False)
    tensors = {"state": checkpoint.state, "samples": checkpoint.samples}
    write_atomic(path, serialise({"format": FORMAT, "record": text, **tensors}), force)


def load_checkpoint(path: Path, named: Sequence[str] = (), among_others: bool = False) -> Checkpoint:
    """Read a model.pt.

    The file is not trusted: nothing in it is run, and it gets no more memory than its size.

    Args:
        path: the file.
        named: the factories that may be imported and called, as the user has named them. The file does not add to
            them.
        among_others: the user has named them for several files.

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
    check_checkpoint(checkpoint.record, checkpoint.state, checkpoint.samples, refuse)
    references = [(part.backbone, part.config) for part in checkpoint.record.spec.parts]
    check_references(references, named, str(path), refuse, among_others)
    _check_size(checkpoint, refuse)
    return checkpoint


def serialise(value: dict[str, Any]) -> bytes:
    """Return the bytes of torch.save; in memory, because a file name would become part of the archive."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def load_tensors(path: Path, form: str) -> dict[str, Any]:
    """Load a dictionary that `serialise` has saved.

    Args:
        path: the file.
        form: expected value of the key `format`.

    Raises:
        ArtefactError: the file is missing, damaged, or of another format.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
        _refuse_inflated(data)
        stored = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}", "`eetool train` makes a model.pt.") from None
    except Exception:  # torch and zipfile raise many unrelated types
        raise ArtefactError(f"{path}: not a model.pt, or a damaged one", "`eetool train` makes a model.pt.") from None
    stored_as = stored.get("format") if isinstance(stored, dict) else None
    if not isinstance(stored, dict) or stored_as != form:
        raise ArtefactError(
            f"{path}: expected a file of format {form!r}, found {stored_as!r}", "`eetool train` makes one."
        )
    tensors: dict[str, Any] = stored
    return tensors


def _refuse_inflated(data: bytes) -> None:
    """Raise ValueError where the archive is compressed or declares more bytes than it has: torch does not compress."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(item.file_size for item in archive.infolist()) > len(data):
            raise ValueError("packed")


def _are_tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _check_size(checkpoint: Checkpoint, refuse: Refuse) -> None:
    """Refuse a network that is larger than the tensors of its file, before memory is allocated for it."""
    spec, state = checkpoint.record.spec, checkpoint.state
    for index, part in enumerate(spec.parts):
        if is_sized_by_name(part.backbone):
            prefix = member_prefix(index) if spec.members else ""
            _check_part(part, {name: x for name, x in state.items() if name.startswith(prefix)}, refuse)


def _check_part(spec: ModelSpec, state: Mapping[str, Tensor], refuse: Refuse) -> None:
    # With a margin, because libraries replace parameters while they build.
    limits = 2 * sum(tensor.numel() for tensor in state.values()) + (1 << 16), 2 * len(state) + 1000
    try:
        check_size(lambda: build(spec.backbone, spec.inputs, len(spec.labels), spec.config), *limits)
    except TooLargeError:
        raise refuse(f"its tensors do not fit {spec.backbone}") from None
