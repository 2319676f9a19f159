"""A checkpoint to a bundle: trace, split, convert, prove, and only then give it its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from eetool import __version__
from eetool.data.registry import Source
from eetool.errors import UsageError, VerificationError
from eetool.export.bundle_files import bundle_name, save_arrays, write_manifest
from eetool.export.int8_selection import reason_to_keep_float
from eetool.export.merge_heads import NONE, merge_model, recount_macs
from eetool.export.parity import Parity, check_bundle, component_parity, expected_samples, require_parity
from eetool.export.split import ComponentModule, Size, batch_multiple
from eetool.export.traced_model import Arrays, TracedModel, default_operating_point, trace_model
from eetool.export.variants import FP32, INT8, VariantKind, find_variants, write_graph
from eetool.graphs.onnx_normalize import IR_VERSION, OPSET
from eetool.graphs.quantize import QuantizationJob, quantize, save_feeds
from eetool.model.checkpoint import Checkpoint
from eetool.model.macs import count_macs, count_parameters
from eetool.model.scored_network import exit_output_names, platt_names, temperature_name
from eetool.progress import SILENT, Advance, Progress
from eetool.records import write_directory
from eetool.tune.fit_policy import tune_bundle
from eetool.workspace import scratch
from eetool_measure.results import ThreadTimes
from eetool_runtime import load, open_bundle
from eetool_runtime import manifest as m
from eetool_runtime.preprocess import check_array

_INPUT_SAMPLES = "samples/inputs.npz"
_JUDGED = 32  # calibration inputs on which int8 and float are compared


@dataclass(frozen=True)
class ExportOptions:
    """What goes into a bundle.

    Attributes:
        variants: names of `VARIANTS`.
        references: also write the graphs that `bench` compares with.
        simplify: run onnxsim over every ONNX graph.
        calibration: model inputs (n, ...) by name, to quantise with; by default the checkpoint's samples.
        labelled: the data that the model records, to fit the policy of int8 variants on their own answers.
        judge_speed: whether a component that is slower in int8 on this machine stays float. Other processors judge
            otherwise; without this the same input gives the same bytes.
        merge: `none`, `auto` or `all`; see `eetool.export.merge_heads.merge_heads`.
        figures: what `auto` decides by.
    """

    variants: tuple[str, ...] = ("onnx/fp32",)
    references: bool = True
    simplify: bool = True
    calibration: Mapping[str, np.ndarray] | None = None
    labelled: Source | None = None
    judge_speed: bool = True
    merge: str = NONE
    figures: ThreadTimes | None = None


def export_bundle(
    checkpoint: Checkpoint,
    output: Path,
    options: ExportOptions = ExportOptions(),
    progress: Progress = SILENT,
    force: bool = False,
) -> m.Manifest:
    """Write the bundle of `checkpoint` to `output`; on any failure nothing is left there.

    The same checkpoint and the same libraries give the same bytes, except that a component of an int8 variant stays
    float where int8 was measured to be slower.

    Raises:
        UsageError: there is no such variant, or the calibration inputs do not fit the model.
        MissingError: a converter is not installed.
        ArtefactError: the network cannot be traced or converted, or the figures are of other components.
        VerificationError: a component, an exit or a decision differs from the model's.
        OutputError: the bundle exists and `force` was not given, or the place cannot be written to.
    """
    kinds = find_variants(options.variants)
    calibration = _checked_calibration(checkpoint, options.calibration)
    n_graphs = 2 * len(checkpoint.record.spec.taps) + 1 + 2 * options.references
    total = 2 + n_graphs * len({kind.base.name for kind in kinds} | {kind.name for kind in kinds})
    with write_directory(output, force) as folder, progress("exporting", total) as advance:
        model = merge_model(trace_model(checkpoint, options.references), options.merge, options.figures, progress)
        advance(1)
        export = _Export(checkpoint, model, folder, options, progress, advance)
        export.write_graphs(kinds, calibration)
        manifest = export.write_manifest(kinds, bundle_name(output))
        require_parity([check for kind in kinds for check in check_bundle(open_bundle(folder), kind.name)])
        advance(1)
    return manifest


@dataclass
class _Export:
    """One export under way. `made` holds the graphs of every variant, components and references by their places."""

    checkpoint: Checkpoint
    model: TracedModel
    folder: Path
    options: ExportOptions
    progress: Progress
    advance: Advance
    made: dict[str, dict[str, m.GraphFile]] = field(init=False, default_factory=dict)

    @property
    def places(self) -> dict[str, ComponentModule]:
        """Every graph that a variant has, by its place in the bundle."""
        components = {_component(piece.name): piece for piece in self.model.pieces}
        return {**components, **{_reference(name): piece for name, piece in self.model.references.items()}}

    def write_graphs(self, kinds: Sequence[VariantKind], calibration: Mapping[str, np.ndarray]) -> None:
        """All float graphs, proved one by one; then the int8 graphs that are made from them."""
        bases = {kind.base.name: kind.base for kind in kinds}
        for base in bases.values():
            self.made[base.name] = self._write_float(base)
        failed = [
            f"{graph.path}: {_parity(graph)}"
            for graphs in self.made.values()
            for graph in graphs.values()
            if not _parity(graph).holds
        ]
        if failed:
            raise VerificationError("graphs differ from the model:\n  " + "\n  ".join(failed))
        quantised = [kind for kind in kinds if kind.precision == INT8]
        cases = self.model.calibration(calibration) if quantised else []
        for kind in quantised:
            self.made[kind.name] = self._write_int8(kind, cases)
        self._drop_unused(kinds)

    def _write_float(self, kind: VariantKind) -> dict[str, m.GraphFile]:
        cases = self.model.cases(kind.batch)
        graphs = {}
        all_exits = self.folder / kind.file(_reference("all_exits")) if self.options.references else None
        for place, piece in self.places.items():
            path = kind.file(place)
            write_graph(kind, self.model, piece, self.folder / path, self.options.simplify, all_exits)
            assert kind.relative is not None
            parity = component_parity(self.folder / path, piece.inputs, piece.outputs, cases, kind.relative)
            graphs[place] = m.GraphFile(path, FP32, parity.max_abs_error, parity.tolerance)
            self.advance(1)
        return graphs

    def _write_int8(self, kind: VariantKind, cases: Sequence[Arrays]) -> dict[str, m.GraphFile]:
        """Per place the first recipe that gives a graph worth having, else the float graph."""
        graphs, reasons = dict(self.made[kind.base.name]), {}
        waiting = dict(self.places)
        with scratch() as temporary:
            feeds = {place: str(temporary / f"{i}.npz") for i, place in enumerate(waiting)}
            for place, piece in waiting.items():
                save_feeds(Path(feeds[place]), piece.inputs, cases)
            for recipe in kind.recipes:
                jobs = [
                    QuantizationJob(
                        recipe, str(self.folder / graphs[p].path), str(self.folder / kind.file(p)), feeds[p]
                    )
                    for p in waiting
                ]
                for place, problem in zip(tuple(waiting), quantize(jobs), strict=True):
                    target = self.folder / kind.file(place)
                    reason = problem or reason_to_keep_float(
                        self.folder / graphs[place].path, target, cases[-_JUDGED:], self.options.judge_speed
                    )
                    if reason is None:
                        graphs[place] = self._int8_graph(kind, place, waiting.pop(place))
                    else:
                        target.unlink(missing_ok=True)
                        target.parent.rmdir()
                        reasons[place] = reason
        for place in waiting:
            self.progress.note(f"{kind.name}: {place.split('/')[1]} stays fp32: {reasons[place]}")
        self.advance(len(self.places))
        return graphs

    def _int8_graph(self, kind: VariantKind, place: str, piece: ComponentModule) -> m.GraphFile:
        path = kind.file(place)
        cases = self.model.cases(kind.batch)
        # The model's own tensors are the reference; the error is recorded and not limited.
        parity = component_parity(self.folder / path, piece.inputs, piece.outputs, cases, relative=1.0)
        return m.GraphFile(path, INT8, parity.max_abs_error, None)

    def _drop_unused(self, kinds: Sequence[VariantKind]) -> None:
        """Float graphs that only served to make int8 ones."""
        used = {self.folder / graph.path for kind in kinds for graph in self.made[kind.name].values()}
        for path in self.folder.glob("*/*/*/model.*"):
            if path not in used:
                path.unlink()
                path.parent.rmdir()

    def write_manifest(self, kinds: Sequence[VariantKind], name: str) -> m.Manifest:
        """Write samples and manifest, and fit the policy of int8 variants; the manifest holds the hash of all else."""
        manifest = self._manifest(kinds, name)
        (case,) = self.model.cases(None)
        pairs = [exit_output_names(i) for i in range(self.model.network.n_exits)]
        exits = [(case[a], case[b]) for a, b in pairs]
        save_arrays(self.folder / _INPUT_SAMPLES, {spec.name: case[spec.name] for spec in manifest.inputs})
        for kind in kinds:
            save_arrays(self.folder / kind.samples, expected_samples(manifest, kind.name, exits))
        manifest = write_manifest(self.folder, manifest)
        for kind in kinds:
            if kind.precision == INT8:
                manifest = self._fit(kind, manifest)
        return manifest

    def _fit(self, kind: VariantKind, manifest: m.Manifest) -> m.Manifest:
        """Fit the policy of an int8 variant on its own answers where that is possible, and record its answers."""
        policy, source = self.checkpoint.record.policy, self.options.labelled
        if policy is not None and source is not None:
            default = manifest.default_operating_point
            fitted, _ = tune_bundle(open_bundle(self.folder), kind.name, source, policy.max_accuracy_drop)
            manifest = replace(fitted, default_operating_point=default)
        write_manifest(self.folder, manifest)
        exits = load(self.folder, variant=kind.name).every_exit(open_bundle(self.folder).arrays(_INPUT_SAMPLES))
        save_arrays(self.folder / kind.samples, expected_samples(manifest, kind.name, exits))
        return write_manifest(self.folder, manifest)

    def _manifest(self, kinds: Sequence[VariantKind], name: str) -> m.Manifest:
        record, policy, single = self.checkpoint.record, self.model.policy, self.model.example(1)
        manifest = m.Manifest(
            schema_version=m.SCHEMA_VERSION,
            name=name,
            inputs=record.spec.inputs,
            labels=record.spec.labels,
            tensors={n: _tensor(single[n], piece.shapes[n]) for piece in self.model.pieces for n in piece.outputs},
            exits=tuple(self._exit(i, tap) for i, tap in enumerate((*record.spec.taps, None))),
            components=tuple(_describe(piece, single) for piece in self.model.pieces),
            variants={kind.name: self._variant(kind) for kind in kinds},
            score=policy.score,
            default_operating_point=default_operating_point(policy),
            samples=_INPUT_SAMPLES,
            producer=_producer(),
            files={},
            max_accuracy_drop=record.policy.max_accuracy_drop if record.policy else None,
            data=record.data,
        )
        inputs = tuple(single[spec.name] for spec in record.spec.inputs)
        return recount_macs(manifest, count_macs(self.model.network.net.backbone, inputs))

    def _exit(self, index: int, tap: str | None) -> m.Exit:
        logits, confidence = exit_output_names(index)
        owner = next(piece.name for piece in self.model.pieces if logits in piece.outputs)
        platt = platt_names(index) if self.model.policy.slopes else (None, None)
        return m.Exit(tap, owner, logits, confidence, temperature_name(index), *platt)

    def _variant(self, kind: VariantKind) -> m.Variant:
        graphs, policy = self.made[kind.name], self.model.policy
        points = policy.operating_points
        if kind.precision == INT8:  # these figures are not those of the float model
            kept = {name: point for name, point in points.items() if point.certificate is None}
            points = {name: m.OperatingPoint(point.thresholds) for name, point in kept.items()}
        return m.Variant(
            components={piece.name: graphs[_component(piece.name)] for piece in self.model.pieces},
            temperatures=policy.temperatures,
            operating_points=points,
            samples=kind.samples,
            samples_tolerance=kind.samples_tolerance,
            batch=kind.batch,
            references={name: graphs[_reference(name)].path for name in self.model.references},
            slopes=policy.slopes,
            offsets=policy.offsets,
        )


def _checked_calibration(
    checkpoint: Checkpoint, calibration: Mapping[str, np.ndarray] | None
) -> Mapping[str, np.ndarray]:
    specs = checkpoint.record.spec.inputs
    if calibration is None:
        return {spec.name: checkpoint.samples[spec.name].numpy() for spec in specs}
    if set(calibration) != {spec.name for spec in specs}:
        raise UsageError(f"calibration needs the inputs {[s.name for s in specs]}, found {sorted(calibration)}")
    if len({len(array) for array in calibration.values()}) != 1:
        raise UsageError("the calibration inputs are of different number")
    return {spec.name: check_array(calibration[spec.name], spec, any_batch=True) for spec in specs}


def _component(name: str) -> str:
    return f"components/{name}"


def _reference(name: str) -> str:
    return f"reference/{name}"


def _describe(piece: ComponentModule, single: Mapping[str, Tensor]) -> m.Component:
    macs = count_macs(piece.module, tuple(single[name] for name in piece.inputs))
    return m.Component(piece.name, piece.kind, piece.inputs, piece.outputs, macs, count_parameters(piece.module))


def _parity(graph: m.GraphFile) -> Parity:
    assert graph.tolerance is not None
    return Parity(graph.max_abs_error, graph.tolerance)


def _tensor(example: Tensor, shape: Sequence[Size]) -> m.Tensor:
    dimensions = tuple(size if isinstance(size, int) else _symbol(batch_multiple(size)) for size in shape)
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
