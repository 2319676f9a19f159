"""A checkpoint to a bundle: trace, split, convert, prove, and only then give it its name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from eetool import __version__
from eetool.errors import VerificationError
from eetool.export.merge import NONE, account, merge
from eetool.export.network import LOGITS, Scored, exit_outputs, exit_temperature
from eetool.export.onnx import IR_VERSION, OPSET, export_onnx
from eetool.export.parity import RELATIVE, Parity, check_bundle, component_parity, expected_samples, require
from eetool.export.split import Piece, run_pieces, split, trace
from eetool.model.checkpoint import Checkpoint, Policy
from eetool.model.macs import count_macs, count_parameters
from eetool.progress import SILENT, Advance, Progress
from eetool.records import canonical, sha256_file, write_directory
from eetool_runtime import manifest as m
from eetool_runtime import open_bundle
from eetool_runtime.measurement import ThreadTimes

VARIANT = "onnx/fp32"
_FOLDER = VARIANT.replace("/", "-")
_INPUT_SAMPLES = "samples/inputs.npz"
_VARIANT_SAMPLES = f"samples/{_FOLDER}.npz"


@dataclass(frozen=True)
class ExportOptions:
    """`references`: also write the graphs that `bench` compares with. `simplify`: run onnxsim over every graph.

    `merge`: `none`, `auto` or `all`; `figures`: what `auto` decides by. See `eetool.export.merge.merge`.
    """

    references: bool = True
    simplify: bool = True
    merge: str = NONE
    figures: ThreadTimes | None = None


def export_bundle(
    checkpoint: Checkpoint, output: Path, options: ExportOptions = ExportOptions(), progress: Progress = SILENT
) -> m.Manifest:
    """Write the bundle of `checkpoint` to `output`; on any failure nothing is left there.

    The same checkpoint and the same libraries give the same bytes.

    Raises:
        ArtefactError: the network cannot be traced or converted.
        VerificationError: a component, an exit or a decision differs from the model's.
        OutputError: the place cannot be written to.
    """
    network = Scored(checkpoint.build()).eval()
    graphs = 2 * network.n_exits - 1 + 2 * options.references
    with write_directory(output) as folder, progress("exporting", graphs + 2) as advance:
        export = _Export(checkpoint, network, folder, options, advance)
        for note in export.notes:
            progress.note(note)
        advance(1)
        export.write_components()
        if options.references:
            export.write_references()
        manifest = export.write_manifest(bundle_name(output))
        require(check_bundle(open_bundle(folder), VARIANT))
        advance(1)
    return manifest


@dataclass
class _Export:
    """One export under way. `tensors` holds every named tensor for all samples, as the model itself computes them."""

    checkpoint: Checkpoint
    network: Scored
    folder: Path
    options: ExportOptions
    advance: Advance
    pieces: list[Piece] = field(init=False)
    notes: list[str] = field(init=False)
    tensors: dict[str, Tensor] = field(init=False)
    parity: dict[str, Parity] = field(init=False, default_factory=dict)
    references: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        arguments = _arguments(self.checkpoint, self.network.n_exits)
        names = [exit_outputs(i) for i in range(self.network.n_exits)]
        # torch.export takes a batch of 1 for a constant, so the example has 2.
        example = tuple(x[:2] if x.ndim else x for x in arguments.values())
        graph = trace(self.network, example, len(self.checkpoint.record.spec.inputs))
        self.pieces = split(graph, list(arguments), names)
        with torch.no_grad():
            outputs = self.network(*arguments.values())
        made = dict(zip([name for pair in names for name in pair], outputs, strict=True))
        self.tensors = {**run_pieces(self.pieces, arguments), **made}
        self._merge()

    def _merge(self) -> None:
        policy = self.checkpoint.record.policy or untuned(self.network.n_exits)
        examples = {name: self.rows(name, 1) for name in self.tensors}
        point = policy.operating_points[default_point(policy)]
        self.pieces, self.notes = merge(self.pieces, self.options.merge, point, self.options.figures, examples)

    def rows(self, name: str, count: int) -> Tensor:
        """The first `count` samples of a tensor; scalars are themselves."""
        tensor = self.tensors[name]
        return tensor[:count] if tensor.ndim else tensor

    def write_components(self) -> None:
        """Convert every piece and prove it alone; all failures are collected before one error names them."""
        arrays = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        for piece in self.pieces:
            path = self.folder / _component_path(piece.name)
            self._convert(piece, path)
            self.parity[piece.name] = component_parity(path, piece.inputs, piece.outputs, arrays)
        failed = [f"{name}: {parity}" for name, parity in self.parity.items() if not parity.holds]
        if failed:
            raise VerificationError("components differ from the model:\n  " + "\n  ".join(failed))

    def write_references(self) -> None:
        """`unsplit`: the backbone as it is, without exits. `all_exits`: one graph that computes every exit."""
        inputs = [spec.name for spec in self.checkpoint.record.spec.inputs]
        temperatures = [exit_temperature(i) for i in range(self.network.n_exits)]
        outputs = [name for i in range(self.network.n_exits) for name in exit_outputs(i)]
        self._write_reference("unsplit", self.network.net.backbone, inputs, len(inputs), [LOGITS])
        self._write_reference("all_exits", self.network, inputs + temperatures, len(inputs), outputs)

    def _write_reference(
        self, name: str, network: torch.nn.Module, inputs: list[str], batched: int, outputs: list[str]
    ) -> None:
        graph = trace(network, tuple(self.rows(n, 2) for n in inputs), batched)
        (piece,) = split(graph, inputs, [outputs])  # with one exit there is nothing to cut
        self.references[name] = f"reference/{name}/{_FOLDER}/model.onnx"
        self._convert(piece, self.folder / self.references[name])

    def write_manifest(self, name: str) -> m.Manifest:
        """Write samples and manifest; the manifest comes last, because it holds the hash of everything else."""
        manifest = self._manifest(name)
        pairs = [exit_outputs(i) for i in range(self.network.n_exits)]
        exits = [(self.tensors[a].numpy(), self.tensors[b].numpy()) for a, b in pairs]
        inputs = {spec.name: self.tensors[spec.name].numpy() for spec in manifest.inputs}
        save_arrays(self.folder / _INPUT_SAMPLES, inputs)
        save_arrays(self.folder / _VARIANT_SAMPLES, expected_samples(manifest, VARIANT, exits))
        return seal(self.folder, manifest)

    def _convert(self, piece: Piece, path: Path) -> None:
        example = [self.rows(name, 2) for name in piece.inputs]
        export_onnx(piece.module, example, piece.inputs, piece.outputs, path, self.options.simplify)
        self.advance(1)

    def _manifest(self, name: str) -> m.Manifest:
        record = self.checkpoint.record
        policy = record.policy or untuned(self.network.n_exits)
        manifest = m.Manifest(
            schema_version=m.SCHEMA_VERSION,
            name=name,
            inputs=record.spec.inputs,
            labels=record.spec.labels,
            tensors={output: _tensor(self.rows(output, 1)) for piece in self.pieces for output in piece.outputs},
            exits=tuple(self._exit(i, tap) for i, tap in enumerate((*record.spec.taps, None))),
            components=tuple(self._component(piece) for piece in self.pieces),
            variants={VARIANT: self._variant(policy)},
            score=policy.score,
            default_operating_point=default_point(policy),
            samples=_INPUT_SAMPLES,
            producer=_producer(),
            files={},
            max_accuracy_drop=record.policy.max_accuracy_drop if record.policy else None,
            data=record.data,
        )
        return account(
            manifest, count_macs(self.network.net.backbone, tuple(self.rows(i.name, 1) for i in record.spec.inputs))
        )

    def _exit(self, index: int, tap: str | None) -> m.Exit:
        logits, confidence = exit_outputs(index)
        owner = next(piece.name for piece in self.pieces if logits in piece.outputs)
        return m.Exit(tap, owner, logits, confidence, exit_temperature(index))

    def _component(self, piece: Piece) -> m.Component:
        macs = count_macs(piece.module, tuple(self.rows(name, 1) for name in piece.inputs))
        return m.Component(piece.name, piece.kind, piece.inputs, piece.outputs, macs, count_parameters(piece.module))

    def _variant(self, policy: Policy) -> m.Variant:
        return m.Variant(
            components={
                name: m.GraphFile(_component_path(name), "fp32", parity.max_abs_error, parity.tolerance)
                for name, parity in self.parity.items()
            },
            temperatures=policy.temperatures,
            operating_points=policy.operating_points,
            samples=_VARIANT_SAMPLES,
            samples_tolerance=RELATIVE,
            references=self.references,
        )


def bundle_name(path: Path) -> str:
    """Name of the bundle at `path`; what the names in a manifest may not hold becomes a hyphen."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".eebundle"))
    return plain.lstrip("._-")[:128] or "bundle"


def default_point(policy: Policy) -> str:
    """Name of the operating point that is in use after loading."""
    return "balanced" if "balanced" in policy.operating_points else "full"


def untuned(n_exits: int) -> Policy:
    """The policy of a model that was never tuned: full depth."""
    point = m.OperatingPoint((None,) * (n_exits - 1))
    return Policy("max_softmax", (1.0,) * n_exits, {"full": point}, 0.0)


def seal(folder: Path, manifest: m.Manifest) -> m.Manifest:
    """Write `manifest.json` with the size and SHA-256 of every file in `folder`; returns what was written."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        files[path.relative_to(folder).as_posix()] = m.File(sha256_file(path), path.stat().st_size)
    sealed = replace(manifest, files=files)
    (folder / "manifest.json").write_text(canonical(sealed), encoding="utf-8")
    return sealed


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz`; numpy stores no time in it, so the same arrays give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)


def _arguments(checkpoint: Checkpoint, n_exits: int) -> dict[str, Tensor]:
    """Arguments of the scored network by name: all samples, then the temperature of every exit."""
    policy = checkpoint.record.policy or untuned(n_exits)
    arguments = {spec.name: checkpoint.samples[spec.name] for spec in checkpoint.record.spec.inputs}
    for i, temperature in enumerate(policy.temperatures):
        arguments[exit_temperature(i)] = torch.tensor(temperature, dtype=torch.float32)
    return arguments


def _component_path(name: str) -> str:
    return f"components/{name}/{_FOLDER}/model.onnx"


def _tensor(example: Tensor) -> m.Tensor:
    return m.Tensor(str(example.dtype).removeprefix("torch."), ("batch", *example.shape[1:]))


def _producer() -> dict[str, str]:
    return {
        "eetool": __version__,
        "torch": str(torch.__version__),
        "onnx": str(onnx.__version__),
        "opset": str(OPSET),
        "ir_version": str(IR_VERSION),
    }
