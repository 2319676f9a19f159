"""A checkpoint to a bundle: trace, split, convert, prove, and only then give it its name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from eetool import __version__
from eetool.errors import VerificationError
from eetool.export.network import LOGITS, Scored, exit_outputs, exit_temperature
from eetool.export.onnx import IR_VERSION, OPSET, export_onnx
from eetool.export.parity import RELATIVE, Parity, check_bundle, component_parity, expected_samples, require
from eetool.export.split import Piece, Size, batches_in, run_pieces, split, trace
from eetool.model.checkpoint import Checkpoint, Policy
from eetool.model.macs import count_macs, count_parameters
from eetool.progress import SILENT, Advance, Progress
from eetool.records import canonical, sha256_file, write_directory
from eetool_runtime import manifest as m
from eetool_runtime import open_bundle

VARIANT = "onnx/fp32"
_FOLDER = VARIANT.replace("/", "-")
_INPUT_SAMPLES = "samples/inputs.npz"
_VARIANT_SAMPLES = f"samples/{_FOLDER}.npz"


@dataclass(frozen=True)
class ExportOptions:
    """`references`: also write the graphs that `bench` compares with. `simplify`: run onnxsim over every graph."""

    references: bool = True
    simplify: bool = True


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
    """One export under way.

    `tensors` holds every named tensor for all samples, as the model itself computes them, `pair` for the first two of
    them and `single` for the first.
    """

    checkpoint: Checkpoint
    network: Scored
    folder: Path
    options: ExportOptions
    advance: Advance
    pieces: list[Piece] = field(init=False)
    tensors: dict[str, Tensor] = field(init=False)
    pair: dict[str, Tensor] = field(init=False)
    single: dict[str, Tensor] = field(init=False)
    parity: dict[str, Parity] = field(init=False, default_factory=dict)
    references: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        arguments = _arguments(self.checkpoint, self.network.n_exits)
        names = [exit_outputs(i) for i in range(self.network.n_exits)]
        example = _first(arguments, 2)
        graph = trace(self.network, tuple(example.values()), len(self.checkpoint.record.spec.inputs))
        self.pieces = split(graph, list(arguments), names)
        self.pair, self.single = run_pieces(self.pieces, example), run_pieces(self.pieces, _first(arguments, 1))
        with torch.no_grad():
            outputs = self.network(*arguments.values())
        made = dict(zip([name for pair in names for name in pair], outputs, strict=True))
        self.tensors = {**run_pieces(self.pieces, arguments), **made, LOGITS: outputs[-2]}

    def write_components(self) -> None:
        """Convert every piece and prove it alone; all failures are collected before one error names them."""
        for piece in self.pieces:
            path = self.folder / _component_path(piece.name)
            self._convert(piece, path)
            self.parity[piece.name] = self._prove(piece, path)
        _require_equal("components", self.parity)

    def write_references(self) -> None:
        """`unsplit`: the backbone as it is, without exits. `all_exits`: one graph that computes every exit.

        They are proved as components are, because `bench` measures everything else against them.
        """
        inputs = [spec.name for spec in self.checkpoint.record.spec.inputs]
        temperatures = [exit_temperature(i) for i in range(self.network.n_exits)]
        outputs = [name for i in range(self.network.n_exits) for name in exit_outputs(i)]
        found = {
            "unsplit": self._write_reference("unsplit", self.network.net.backbone, inputs, len(inputs), [LOGITS]),
            "all_exits": self._write_reference("all_exits", self.network, inputs + temperatures, len(inputs), outputs),
        }
        _require_equal("references", found)

    def _write_reference(
        self, name: str, network: torch.nn.Module, inputs: list[str], batched: int, outputs: list[str]
    ) -> Parity:
        graph = trace(network, tuple(self.pair[n] for n in inputs), batched)
        (piece,) = split(graph, inputs, [outputs])  # with one exit there is nothing to cut
        self.references[name] = f"reference/{name}/{_FOLDER}/model.onnx"
        path = self.folder / self.references[name]
        self._convert(piece, path)
        return self._prove(piece, path)

    def _prove(self, piece: Piece, path: Path) -> Parity:
        arrays = {name: self.tensors[name].numpy() for name in (*piece.inputs, *piece.outputs)}
        return component_parity(path, piece.inputs, piece.outputs, arrays)

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
        export_onnx(piece, [self.pair[name] for name in piece.inputs], path, self.options.simplify)
        self.advance(1)

    def _manifest(self, name: str) -> m.Manifest:
        record = self.checkpoint.record
        policy = record.policy or untuned(self.network.n_exits)
        return m.Manifest(
            schema_version=m.SCHEMA_VERSION,
            name=name,
            inputs=record.spec.inputs,
            labels=record.spec.labels,
            tensors={name: _tensor(self.single[name], p.shapes[name]) for p in self.pieces for name in p.outputs},
            exits=tuple(self._exit(i, tap) for i, tap in enumerate((*record.spec.taps, None))),
            components=tuple(self._component(piece) for piece in self.pieces),
            variants={VARIANT: self._variant(policy)},
            score=policy.score,
            default_operating_point="balanced" if "balanced" in policy.operating_points else "full",
            samples=_INPUT_SAMPLES,
            producer=_producer(),
            files={},
            max_accuracy_drop=record.policy.max_accuracy_drop if record.policy else None,
            data=record.data,
        )

    def _exit(self, index: int, tap: str | None) -> m.Exit:
        logits, confidence = exit_outputs(index)
        owner = next(piece.name for piece in self.pieces if logits in piece.outputs)
        return m.Exit(tap, owner, logits, confidence, exit_temperature(index))

    def _component(self, piece: Piece) -> m.Component:
        macs = count_macs(piece.module, tuple(self.single[name] for name in piece.inputs))
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


def _require_equal(what: str, found: Mapping[str, Parity]) -> None:
    failed = [f"{name}: {parity}" for name, parity in found.items() if not parity.holds]
    if failed:
        raise VerificationError(f"{what} differ from the model:\n  " + "\n  ".join(failed))


def bundle_name(path: Path) -> str:
    """Name of the bundle at `path`; what the names in a manifest may not hold becomes a hyphen."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".eebundle"))
    return plain.strip("._-")[:128] or "bundle"


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


def _first(arguments: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The first `count` samples of every argument; scalars are themselves."""
    return {name: x[:count] if x.ndim else x for name, x in arguments.items()}


def _tensor(example: Tensor, shape: Sequence[Size]) -> m.Tensor:
    dimensions = tuple(size if isinstance(size, int) else _symbol(batches_in(size)) for size in shape)
    return m.Tensor(str(example.dtype).removeprefix("torch."), dimensions)


def _symbol(batches: int) -> str:
    return m.BATCH if batches == 1 else f"{m.BATCH}_x{batches}"


def _producer() -> dict[str, str]:
    return {
        "eetool": __version__,
        "torch": str(torch.__version__),
        "onnx": str(onnx.__version__),
        "opset": str(OPSET),
        "ir_version": str(IR_VERSION),
    }
