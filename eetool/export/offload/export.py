"""Export of what lies behind a cut of a bundle: a model repository, and the bundle that asks it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.export.bundle_files import copy_files, read_goals, write_manifest
from eetool.export.offload.costs_file import COSTS
from eetool.export.offload.cut import Cut, find_cut
from eetool.export.offload.policy import OffloadFit, same_policy
from eetool.export.offload.repository import model_name, write_model
from eetool.export.offload.split_answers import TAIL_VARIANT, SplitAnswers
from eetool.export.offload.tail_graph import build_tail
from eetool.export.offload.wire import wire_inputs
from eetool.export.parity import Parity, ParityCheck, compare_tensors, require_parity
from eetool.metrics import exits_taken
from eetool.progress import SILENT, Progress
from eetool.records import write_directory
from eetool.workspace import scratch
from eetool_runtime import Bundle, open_bundle
from eetool_runtime.backends import Graph, open_graph
from eetool_runtime.manifest import Manifest, all_tensors, scalars
from eetool_runtime.manifest_offload import FP32, OffloadInput, OffloadOutput, OffloadPolicy, OffloadSpec


@dataclass(frozen=True)
class OffloadOrder:
    """Order to export a part of a bundle for a server.

    Attributes:
        after_exit: the last exit on the device; None where the input itself travels.
        wire: `fp32`, `fp16` or `uint8`.
        repository: folder of models, made where it is missing.
        calibration: model inputs (n, …) by name that scales are fitted on; None for the bundle's samples.
        labelled: the data that the bundle records, for temperatures and thresholds; None where it is not at hand.
    """

    after_exit: int | None
    wire: str
    repository: Path
    calibration: Mapping[str, np.ndarray] | None = None
    labelled: Source | None = None


@dataclass(frozen=True)
class OffloadExport:
    """Result of an export for a server.

    Attributes:
        manifest: of the bundle that asks the server.
        model: folder of the server's model.
        size_bytes: of its graph.
        cut: where the cascade was cut.
        parities: of each later exit, the server's graph against the components on what they receive.
        same_decisions: share of the samples that leave where the device alone lets them leave, by operating point.
    """

    manifest: Manifest
    model: Path
    size_bytes: int
    cut: Cut
    parities: tuple[Parity, ...]
    same_decisions: dict[str, float]

    @property
    def spec(self) -> OffloadSpec:
        """Field `offload` of the manifest."""
        assert self.manifest.offload is not None
        return self.manifest.offload


def add_offload(
    bundle: Bundle, output: Path, order: OffloadOrder, progress: Progress = SILENT, force: bool = False
) -> OffloadExport:
    """Write the server's model, and to `output` the bundle with the field `offload`.

    The server's graph is proved to compute what the components compute on what they receive.

    Args:
        bundle: a bundle with the variant onnx/fp32, whose components the server runs.
        output: place of the new bundle; it may be the bundle itself.
        order: what is exported.
        progress: observer; receives warnings.
        force: replace an existing output.

    Raises:
        UsageError: there is no such exit, or nothing lies behind it.
        ArtefactError: the bundle lacks the variant onnx/fp32, or numbers do not fit the wire.
        VerificationError: the server's graph computes something else.
        OutputError: an output exists or cannot be written.
    """
    manifest = bundle.manifest
    cut = find_cut(manifest, order.after_exit)
    if TAIL_VARIANT not in manifest.variants:
        raise ArtefactError(
            f"{bundle.path} has no variant {TAIL_VARIANT}, whose components a server runs",
            "Export the model with --format onnx --precision fp32 as well.",
        )
    samples = bundle.arrays(manifest.samples)
    calibration = samples if order.calibration is None else order.calibration
    wires = wire_inputs(cut, order.wire, manifest, SplitAnswers(bundle, TAIL_VARIANT, cut, ()).boundary(calibration))
    tail = build_tail(
        {c.name: onnx.load(bundle.file(manifest.variants[TAIL_VARIANT].components[c.name].path)) for c in cut.behind},
        cut,
        wires,
        manifest,
    )
    data = tail.SerializeToString(deterministic=True)
    parities, same = prove_tail(data, bundle, cut, wires, samples)
    outputs = tuple(
        OffloadOutput(cut.exits_here + i, e.logits, e.confidence) for i, e in enumerate(cut.later_exits(manifest))
    )
    policies = _policies(bundle, cut, wires, order, progress)
    spec = OffloadSpec(order.after_exit, model_name(manifest.name, data), order.wire, wires, outputs, policies)
    with write_directory(output, force) as folder:
        copy_files(bundle, folder)
        (folder / COSTS).unlink(missing_ok=True)  # of an earlier server
        sealed = write_manifest(folder, replace(manifest, offload=spec))
        open_bundle(folder)
        order.repository.mkdir(parents=True, exist_ok=True)
        model = write_model(order.repository, spec.model, tail, data)
    return OffloadExport(sealed, model, len(data), cut, parities, same)


def _policies(
    bundle: Bundle, cut: Cut, wires: tuple[OffloadInput, ...], order: OffloadOrder, progress: Progress
) -> dict[str, OffloadPolicy]:
    """Return the policy of every variant whose tensors the server's graph reads."""
    manifest, policies = bundle.manifest, dict[str, OffloadPolicy]()
    goals = read_goals(bundle)
    for variant in manifest.variants:
        declared = all_tensors(manifest, variant)
        if any(declared[name] != tensor for name, tensor in cut.tensors.items()):
            progress.note(f"{variant} is never offloaded: its tensors are not those of {TAIL_VARIANT}")
            continue
        exact = order.wire == FP32 and variant == TAIL_VARIANT
        if exact or order.labelled is None or goals is None:
            policies[variant] = same_policy(manifest, variant, cut, order.wire)
            if not exact:
                why = "the model was never tuned" if goals is None else "the data that it records is not at hand"
                progress.note(f"warning: {variant} keeps its thresholds with a server: {why}")
            continue
        fit = OffloadFit(bundle, variant, cut, wires, order.labelled, progress)
        policies[variant], tuned = fit.fit(goals, manifest.variants[variant].operating_points)
        for line in tuned.warnings:
            progress.note(f"warning: {variant} with a server: {line}")
    return policies


def prove_tail(
    data: bytes, bundle: Bundle, cut: Cut, wires: tuple[OffloadInput, ...], samples: Mapping[str, np.ndarray]
) -> tuple[tuple[Parity, ...], dict[str, float]]:
    """Run the server's graph on what the samples send, and compare it with the components on what they receive."""
    manifest, fitted = bundle.manifest, bundle.manifest.variants[TAIL_VARIANT]
    split = SplitAnswers(bundle, TAIL_VARIANT, cut, wires)
    boundary = split.boundary(samples)
    with scratch() as folder:
        path = folder / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        answers = ask_graph(open_graph(path), bundle, cut, split.sent(boundary))
    checks, parities = [], []
    for e, (logits, confidence), (wanted, sure) in zip(
        cut.later_exits(manifest), answers, split.behind(boundary), strict=True
    ):
        pairs = ((logits, wanted), (confidence, sure))
        parity = max(
            (compare_tensors(a, b, fitted.samples_tolerance) for a, b in pairs),
            key=lambda one: one.max_abs_error / one.tolerance,
        )
        parities.append(parity)
        checks.append(ParityCheck(e.logits, parity.holds, str(parity)))
    require_parity(checks, "the server's graph")
    exits = split.every_exit(samples)
    confidences = np.stack([c for _, c in exits[: cut.exits_here]] + [c for _, c in answers])
    recorded = bundle.arrays(fitted.samples)
    same = {
        name: float((exits_taken(confidences, point.thresholds) == recorded[f"exit_{name}"]).mean())
        for name, point in fitted.operating_points.items()
    }
    return tuple(parities), same


def ask_graph(
    graph: Graph, bundle: Bundle, cut: Cut, sent: Mapping[str, np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what a server's graph answers to `sent`: logits and confidence of every later exit."""
    values = scalars(bundle.manifest, bundle.manifest.variants[TAIL_VARIANT])
    exits = cut.later_exits(bundle.manifest)
    feed = {**sent, **{name: np.array([values[name]], np.float32) for e in exits for name in e.scalars}}
    outputs = dict(zip(graph.outputs, graph.run(feed), strict=True))
    return [(outputs[e.logits], outputs[e.confidence]) for e in exits]
