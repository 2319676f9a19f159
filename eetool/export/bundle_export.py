"""Export of a checkpoint to a bundle: trace, split, convert, prove parity, and only then rename."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eetool.data.source import Source
from eetool.errors import ArtefactError, VerificationError
from eetool.export.bundle_files import bundle_name, save_arrays, write_contents, write_goals, write_manifest
from eetool.export.calibration import checked_calibration
from eetool.export.expected_drops import Drops, write_drops
from eetool.export.full_integer import STEPS, write_full_integer
from eetool.export.int8_selection import Int8Judge
from eetool.export.manifest_parts import describe_component, describe_producer, describe_tensor
from eetool.export.merge_heads import NONE, merge_model, recount_macs
from eetool.export.operator_check import naming_operator
from eetool.export.parity import (
    Parity,
    answers_alone,
    check_bundle,
    component_parity,
    expected_samples,
    require_parity,
)
from eetool.export.refitted_variants import goals_of, is_refitted, stream_points, unfitted_points
from eetool.export.split import ComponentModule
from eetool.export.traced_model import TracedModel, default_operating_point, trace_model
from eetool.export.variants import FP32, INT8, TFLITE, TFLM, VariantKind, find_variants, write_graph
from eetool.graphs.calibration_feeds import Feeds, save_feeds
from eetool.graphs.quantize import QuantizationJob, quantize
from eetool.graphs.tflite_combine import combine_tflite
from eetool.model.checkpoint import Checkpoint
from eetool.model.exit_flow import measure_exit_macs
from eetool.model.goals import TuningGoals
from eetool.model.scored_network import exit_output_names, platt_names, temperature_name
from eetool.model.spec import Policy
from eetool.progress import SILENT, Advance, Progress
from eetool.records import write_directory
from eetool.tune.point_names import CERTIFIED
from eetool.tune.refit import Price, find_costs, price_by_table, refit_variant
from eetool.workspace import scratch
from eetool_measure.results import ThreadTimes
from eetool_runtime import manifest as m
from eetool_runtime import open_bundle
from eetool_runtime.loading import load_to_judge

_INPUT_SAMPLES = "samples/inputs.npz"


@dataclass(frozen=True)
class ExportedBundle:
    """Result of an export.

    Attributes:
        manifest: of the bundle.
        relative_rms: `Parity.relative_rms` of every component on the samples, by variant.
    """

    manifest: m.Manifest
    relative_rms: dict[str, dict[str, float]]


@dataclass(frozen=True)
class ExportOptions:
    """Contents of a bundle.

    Attributes:
        variants: names of `VARIANTS`.
        references: also write the graphs that `bench` compares with.
        simplify: run onnxsim over every ONNX graph.
        calibration: model inputs (n, ...) by name, to quantise with; by default the checkpoint's samples.
        labelled: the data that the model records, for the policy of variants whose outputs or costs differ.
        judge_speed: keep a component float where int8 is slower on this machine. Other processors may give other
            results; without this the same input gives the same bytes.
        merge: `none`, `auto` or `all`; see `eetool.export.merge_heads.merge_heads`.
        figures: measured times, for `auto`.
        price: costs of a variant on the device that the policy's goals name.
        share_files: write the components of a TFLite variant as one file, which needs version 1.1 of the format.
    """

    variants: tuple[str, ...] = ("onnx/fp32",)
    references: bool = True
    simplify: bool = True
    calibration: Mapping[str, np.ndarray] | None = None
    labelled: Source | None = None
    judge_speed: bool = True
    merge: str = NONE
    figures: ThreadTimes | None = None
    price: Price = price_by_table
    share_files: bool = True


def export_bundle(
    checkpoint: Checkpoint,
    output: Path,
    options: ExportOptions = ExportOptions(),
    progress: Progress = SILENT,
    force: bool = False,
) -> ExportedBundle:
    """Write the bundle of `checkpoint` to `output`; on any failure nothing is left there.

    The same checkpoint and the same libraries give the same bytes, except that a component of an int8 variant stays
    float where int8 was measured to be slower.

    Raises:
        UsageError: there is no such variant, or the calibration inputs do not fit the model.
        MissingError: a converter is not installed.
        ArtefactError: the network cannot be traced or converted, or the figures are of other components.
        VerificationError: a component, an exit or a decision differs from the model's.
        OutputError: the bundle exists and `force` was not given, or the output path cannot be written.
    """
    kinds = find_variants(options.variants)
    calibration = checked_calibration(checkpoint, options.calibration)
    with write_directory(output, force) as folder:
        with progress("tracing", 1) as advance:
            model = merge_model(trace_model(checkpoint, options.references), options.merge, options.figures, progress)
            advance(1)
        with progress("exporting", _steps(model, kinds)) as advance:
            export = _Export(checkpoint, model, folder, options, progress, advance)
            export.write_graphs(kinds, calibration)
            manifest = export.write_manifest(kinds, bundle_name(output))
            for kind in kinds:
                require_parity(check_bundle(open_bundle(folder), kind.name))
                advance(1)
    return ExportedBundle(manifest, {kind.name: export.errors(kind) for kind in kinds})


def _steps(model: TracedModel, kinds: Sequence[VariantKind]) -> int:
    """Return the steps of an export: one for a float graph, two for an int8 graph, and two for a variant."""
    graphs = len(model.components) + len(model.references)
    float_kinds = {kind.base.name for kind in kinds if kind.format != TFLM}
    quantised = sum(kind.precision == INT8 and kind.format != TFLM for kind in kinds)
    integer = sum(kind.format == TFLM for kind in kinds) * (len(model.components) + bool(model.references))
    return graphs * (len(float_kinds) + 2 * quantised) + STEPS * integer + 2 * len(kinds)


@dataclass
class _Export:
    """State of one export. `graphs` holds those of every variant: components and references by place."""

    checkpoint: Checkpoint
    model: TracedModel
    folder: Path
    options: ExportOptions
    progress: Progress
    advance: Advance
    graphs: dict[str, dict[str, m.GraphFile]] = field(init=False, default_factory=dict)
    drops: dict[str, Drops] = field(init=False, default_factory=dict)
    relative_rms: dict[str, dict[str, float]] = field(init=False, default_factory=dict)  # of every place
    tensors: dict[str, dict[str, m.Tensor]] = field(init=False, default_factory=dict)  # where other than the model's

    @property
    def places(self) -> dict[str, ComponentModule]:
        """Every graph of a variant, by its place in the bundle."""
        components = {_component(component.name): component for component in self.model.components}
        return {**components, **{_reference(name): graph for name, graph in self.model.references.items()}}

    def write_graphs(self, kinds: Sequence[VariantKind], calibration: Mapping[str, np.ndarray]) -> None:
        """Write all float graphs and prove each; then write the int8 graphs from them."""
        bases = {kind.base.name: kind.base for kind in kinds if kind.format != TFLM}
        for base in bases.values():
            with naming_operator(lambda: self.model, base):
                self.graphs[base.name] = self._write_float(base)
                _require_parity(self.graphs[base.name].values())
        for kind in kinds:
            if kind.format == TFLM:
                self._write_full_integer(kind, calibration)
        quantised = [kind for kind in kinds if kind.precision == INT8 and kind.format != TFLM]
        if quantised:
            with scratch() as temporary:
                names = dict.fromkeys(name for graph in self.places.values() for name in graph.inputs)
                feeds = save_feeds(temporary, list(names), self.model.calibration(calibration))
                for kind in quantised:
                    self.graphs[kind.name] = self._write_int8(kind, feeds)
        for kind in kinds:
            if kind.format == TFLITE and self.options.share_files and len(self.model.components) > 1:
                self._share_file(kind)
        self._drop_unused(kinds)

    def _write_float(self, kind: VariantKind) -> dict[str, m.GraphFile]:
        cases = self.model.cases(kind.batch)
        graphs = {}
        all_exits = self.folder / kind.file(_reference("all_exits")) if self.options.references else None
        for place, component in self.places.items():
            path = kind.file(place)
            write_graph(kind, self.model, component, self.folder / path, self.options.simplify, all_exits)
            assert kind.relative is not None
            parity = component_parity(self.folder / path, component.inputs, component.outputs, cases, kind.relative)
            if parity.problem:
                raise VerificationError(f"{path} differs from the model: {parity.problem}")
            graphs[place] = m.GraphFile(path, FP32, parity.max_abs_error, parity.tolerance)
            self._note_error(kind, place, parity)
            self.advance(1)
        return graphs

    def _write_int8(self, kind: VariantKind, feeds: Feeds) -> dict[str, m.GraphFile]:
        """Write for each place the graph of the first recipe that passes the checks, else keep the float graph."""
        graphs, reasons = dict(self.graphs[kind.base.name]), {}
        self.relative_rms[kind.name] = dict(self.relative_rms[kind.base.name])
        judge = Int8Judge(self.model.cases(kind.batch), self.model.alone[0], self.options.judge_speed)
        waiting = dict(self.places)
        for recipe in kind.recipes:
            jobs = []
            for place, component in waiting.items():
                source, target = self.folder / graphs[place].path, self.folder / kind.file(place)
                jobs.append(QuantizationJob(recipe, str(source), str(target), feeds.of(component.inputs)))
            first = recipe == kind.recipes[0]  # places that need a further recipe were counted
            problems = quantize(jobs, self.advance if first else lambda steps: None)
            for place, problem in zip(tuple(waiting), problems, strict=True):
                self.advance(int(first))
                target = self.folder / kind.file(place)
                reason = problem or judge.reason_to_keep_float(place, self.folder / graphs[place].path, target)
                if reason is None:
                    graphs[place] = self._int8_graph(kind, place, waiting.pop(place))
                else:
                    target.unlink(missing_ok=True)
                    target.parent.rmdir()
                    reasons[place] = reason
        for place in waiting:
            self.progress.note(f"{kind.name}: {place.split('/')[1]} stays fp32: {reasons[place]}")
        for note in judge.notes():
            self.progress.note(f"{kind.name}: {note}")
        return graphs

    def _int8_graph(self, kind: VariantKind, place: str, component: ComponentModule) -> m.GraphFile:
        path = kind.file(place)
        cases = self.model.cases(kind.batch)
        # The model's own tensors are the reference; the error is recorded and not limited.
        parity = component_parity(self.folder / path, component.inputs, component.outputs, cases, relative=1.0)
        self._note_error(kind, place, parity)
        return m.GraphFile(path, INT8, parity.max_abs_error, None)

    def _write_full_integer(self, kind: VariantKind, calibration: Mapping[str, np.ndarray]) -> None:
        """Write the graphs of a variant for microcontrollers; of the references only the network without exits."""
        places = {place: part for place, part in self.places.items() if place != _reference("all_exits")}
        written = write_full_integer(self.model, places, kind, self.folder, calibration, self.advance)
        self.graphs[kind.name], self.tensors[kind.name] = written.graphs, written.tensors
        self.relative_rms[kind.name] = written.relative_rms
        for note in written.notes:
            self.progress.note(note)

    def _note_error(self, kind: VariantKind, place: str, parity: Parity) -> None:
        self.relative_rms.setdefault(kind.name, {})[place] = parity.relative_rms

    def errors(self, kind: VariantKind) -> dict[str, float]:
        """Return the relative errors of the components of a variant."""
        return {c.name: self.relative_rms[kind.name][_component(c.name)] for c in self.model.components}

    def _share_file(self, kind: VariantKind) -> None:
        """Write the components of a variant as one file, whose graphs share one pool of threads."""
        graphs = self.graphs[kind.name]
        places = {component.name: _component(component.name) for component in self.model.components}
        try:
            combined = combine_tflite({name: self.folder / graphs[place].path for name, place in places.items()})
        except ArtefactError as error:
            self.progress.note(f"warning: {kind.name} has a file per component: {error.message}")
            return
        path = self.folder / kind.shared_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(combined)
        graphs.update((place, replace(graphs[place], path=kind.shared_file)) for place in places.values())

    def _drop_unused(self, kinds: Sequence[VariantKind]) -> None:
        """Remove graphs that no variant uses: they only served to make int8 graphs or shared files."""
        used = {self.folder / graph.path for kind in kinds for graph in self.graphs[kind.name].values()}
        for path in self.folder.glob("*/*/*/model.*"):
            if path not in used:
                path.unlink()
                path.parent.rmdir()
                with suppress(OSError):  # other variants have files there
                    path.parent.parent.rmdir()

    def write_manifest(self, kinds: Sequence[VariantKind], name: str) -> m.Manifest:
        """Write samples, goals and manifest, and refit the policy of variants whose outputs or costs differ."""
        manifest = self._manifest(kinds, name)
        exits = self.model.exit_answers()
        inputs = {spec.name: self.model.arguments[spec.name].numpy() for spec in manifest.inputs}
        save_arrays(self.folder / _INPUT_SAMPLES, inputs)
        for kind in kinds:
            save_arrays(self.folder / kind.samples, expected_samples(manifest, kind.name, exits))
        write_contents(self.folder, self.checkpoint.record.contents)
        policy = self.checkpoint.record.policy
        if policy is not None:  # those of refitted variants follow
            write_goals(self.folder, policy.goals)
            self.drops = {kind.name: policy.expected_drops for kind in kinds if kind.precision == FP32}
            write_drops(self.folder, self.drops)
        manifest = write_manifest(self.folder, manifest)
        merged = any(component.kind == "joined" for component in self.model.components)
        for kind in kinds:
            if kind.precision == INT8 or (policy is not None and is_refitted(policy, kind.name, merged)):
                manifest = self._refit(kind, manifest, policy)
            self.advance(1)
        return manifest

    def _refit(self, kind: VariantKind, manifest: m.Manifest, policy: Policy | None) -> m.Manifest:
        """Fit the policy on the variant's own outputs and costs where they are known, and record its outputs."""
        if policy is not None:
            goals = goals_of(policy)
            if kind.precision == FP32:
                problem = self._reason_to_keep_policy(kind, goals)
                if problem is not None:
                    self.progress.note(f"warning: {kind.name} keeps the thresholds of the model: {problem}")
                    return manifest
            manifest = self._fit_goals(kind, manifest, policy, goals)
        write_manifest(self.folder, manifest)
        inputs = open_bundle(self.folder).arrays(_INPUT_SAMPLES)
        exits = answers_alone(load_to_judge(self.folder, variant=kind.name), inputs)
        save_arrays(self.folder / kind.samples, expected_samples(manifest, kind.name, exits))
        return write_manifest(self.folder, manifest)

    def _reason_to_keep_policy(self, kind: VariantKind, goals: TuningGoals) -> str | None:
        """Return the reason why a float variant, whose accuracy is known, cannot be fitted to its own costs."""
        if self.options.labelled is None:
            return "the data that it records is not at hand"
        return find_costs(self.folder, kind.name, goals, self.options.price)[1]

    def _fit_goals(self, kind: VariantKind, manifest: m.Manifest, policy: Policy, goals: TuningGoals) -> m.Manifest:
        source, points = self.options.labelled, policy.operating_points
        if source is None:
            if CERTIFIED in points:
                self.progress.note(f"warning: {kind.name}: `{CERTIFIED}` is full depth, without a certificate")
            return manifest
        default = manifest.default_operating_point
        fitted, tuned = refit_variant(open_bundle(self.folder), kind.name, source, goals, points, self.options.price)
        for line in tuned.warnings:
            self.progress.note(f"warning: {kind.name}: {line}")
        self.drops[kind.name] = tuned.expected_drops
        write_drops(self.folder, self.drops)
        return replace(fitted, default_operating_point=default)

    def _manifest(self, kinds: Sequence[VariantKind], name: str) -> m.Manifest:
        record, policy, single = self.checkpoint.record, self.model.policy, self.model.example(1)
        manifest = m.Manifest(
            schema_version=m.SCHEMA_VERSION,  # or a later one, which `write_manifest` finds
            name=name,
            inputs=record.spec.inputs,
            labels=record.spec.labels,
            tensors={n: describe_tensor(single[n], c.shapes[n]) for c in self.model.components for n in c.outputs},
            exits=tuple(self._exit(i, tap) for i, tap in enumerate((*record.spec.taps, None))),
            components=tuple(describe_component(component, single) for component in self.model.components),
            variants={kind.name: self._variant(kind) for kind in kinds},
            score=policy.score,
            default_operating_point=default_operating_point(policy),
            samples=_INPUT_SAMPLES,
            producer=describe_producer(),
            files={},
            max_accuracy_drop=record.policy.max_accuracy_drop if record.policy else None,
            data=record.data,
            stream=stream_points(record.policy, [kind.name for kind in kinds]),
        )
        inputs = tuple(single[spec.name] for spec in record.spec.inputs)
        return recount_macs(manifest, measure_exit_macs(self.model.network.net, inputs).backbone)

    def _exit(self, index: int, tap: str | None) -> m.Exit:
        logits, confidence = exit_output_names(index)
        owner = next(component.name for component in self.model.components if logits in component.outputs)
        platt = platt_names(index) if self.model.policy.slopes else (None, None)
        return m.Exit(tap, owner, logits, confidence, temperature_name(index), *platt)

    def _variant(self, kind: VariantKind) -> m.Variant:
        graphs, policy = self.graphs[kind.name], self.model.policy
        points = policy.operating_points
        if kind.precision == INT8:  # its figures are not those of the float model
            points = unfitted_points(points)
        return m.Variant(
            components={c.name: graphs[_component(c.name)] for c in self.model.components},
            temperatures=policy.temperatures,
            operating_points=points,
            samples=kind.samples,
            samples_tolerance=kind.samples_tolerance,
            batch=kind.batch,
            tensors=self.tensors.get(kind.name, {}),
            references={n: graphs[_reference(n)].path for n in self.model.references if _reference(n) in graphs},
            slopes=policy.slopes,
            offsets=policy.offsets,
        )


def _require_parity(graphs: Iterable[m.GraphFile]) -> None:
    failed = [f"{graph.path}: {_parity(graph)}" for graph in graphs if not _parity(graph).holds]
    if failed:
        raise VerificationError("graphs differ from the model:\n  " + "\n  ".join(failed))


def _component(name: str) -> str:
    return f"components/{name}"


def _reference(name: str) -> str:
    return f"reference/{name}"


def _parity(graph: m.GraphFile) -> Parity:
    assert graph.tolerance is not None
    return Parity(graph.max_abs_error, graph.tolerance)
