"""Export of a checkpoint to one ONNX file that leaves early by itself, for every language with ONNX Runtime.

docs/single-file.md is the user's guide; docs/decisions/0005 has the reasons for the layout.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper, numpy_helper

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.export.converters.to_onnx import to_onnx
from eetool.export.inference_check import build_checked
from eetool.export.operator_check import naming_operator
from eetool.export.parity import (
    Parity,
    ParityCheck,
    compare_tensors,
    decisions_check,
    near_threshold,
    require_parity,
)
from eetool.export.single_file.nested_if import (
    CONFIDENCE,
    EXIT,
    LOGITS,
    MAX_EARLY_EXITS,
    OUTPUTS,
    ConditionalStage,
    nest_stages,
    prefix_names,
    threshold_name,
)
from eetool.export.split import ComponentModule, run_components, split_graph, trace_network
from eetool.export.traced_model import trace_model
from eetool.export.variants import VARIANTS
from eetool.graphs.onnx_normalize import IR_VERSION
from eetool.metrics import Thresholds, exits_taken
from eetool.model.checkpoint import Checkpoint
from eetool.model.scored_network import ScoredNetwork, exit_output_names, scalar_inputs, untuned_policy
from eetool.model.spec import Policy
from eetool.progress import SILENT, Progress
from eetool.records import encode, write_file
from eetool_runtime.backends import Graph, Threads, backend_for
from eetool_runtime.manifest import NEVER

LAYOUT_VERSION = "1"
_MAX_BYTES = (1 << 31) - 1  # of one protocol buffer
_RELATIVE = VARIANTS["onnx/fp32"].samples_tolerance
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class SingleFile:
    """Size of the file, and the error of each exit against the model over the samples."""

    size_bytes: int
    exits: tuple[Parity, ...]


def export_single(
    checkpoint: Checkpoint,
    output: Path,
    simplify: bool = True,
    progress: Progress = SILENT,
    force: bool = False,
) -> SingleFile:
    """Write `checkpoint` as one ONNX file; on any failure nothing is left there.

    Every exit, and the decision on every sample at every operating point, is proved equal to the model's. The same
    checkpoint and the same libraries give the same bytes.

    Raises:
        ArtefactError: the network cannot be traced or converted, or is too large for one file.
        VerificationError: an exit or a decision differs from the model's.
        UsageError: the model has more early exits than one file can nest.
        OutputError: the file exists and `force` was not given, or the output path cannot be written.
    """
    spec = checkpoint.record.spec
    policy = checkpoint.record.policy or untuned_policy(len(spec.taps) + 1, spec.learned_confidence)
    network = ScoredNetwork(build_checked(checkpoint), policy.score, bool(policy.slopes)).eval()
    if network.n_exits - 1 > MAX_EARLY_EXITS:
        raise UsageError(f"one file can nest {MAX_EARLY_EXITS} early exits; this model has {network.n_exits - 1}")
    places = naming_operator(lambda: trace_model(checkpoint, references=False), VARIANTS["onnx/fp32"])
    with progress("exporting", 2 * network.n_exits + 1) as advance, places:
        components, example = _split(checkpoint, network, policy)
        advance(1)
        models = []
        for component in components:
            models.append(to_onnx(component, [example[name] for name in component.inputs], simplify))
            advance(1)
        model = assemble_model(components, models, checkpoint, policy)
        data = _serialise(model)
        with write_file(output, force) as temporary:
            temporary.write_bytes(data)
            parities = _prove(temporary, checkpoint, network, policy)
        advance(1)
    return SingleFile(len(data), parities)


def threshold_value(threshold: float | None) -> float:
    """Return the least float32 that is not below a threshold, and NEVER for null.

    The file compares float32 and the runtime 64-bit floats. No float32 lies between a threshold and this number, so
    both make the same decisions.
    """
    if threshold is None:
        return NEVER
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) >= threshold else np.nextafter(rounded, np.float32(np.inf)))


def assemble_model(
    components: Sequence[ComponentModule], models: Sequence[ModelProto], checkpoint: Checkpoint, policy: Policy
) -> ModelProto:
    """Return the ONNX models of `components`, all at batch 1, as one model with its metadata."""
    spec = checkpoint.record.spec
    inputs = {spec.name for spec in spec.inputs}
    n_exits = len(spec.taps) + 1
    reserved = inputs & {*OUTPUTS, *(threshold_name(i) for i in range(n_exits))}
    if reserved:
        raise ArtefactError(f"the model has an input named {min(reserved)!r}, which the single file needs itself")
    shared = frozenset(inputs.union(*(component.outputs for component in components)))
    bound = {name: numpy_helper.from_array(x.numpy(), name) for name, x in scalar_inputs(policy).items()}
    graphs = [
        prefix_names(m.graph, component.name, shared, bound) for component, m in zip(components, models, strict=True)
    ]
    graph = nest_stages(_stages(components, graphs, n_exits), _inputs(checkpoint), len(spec.labels))
    graph.name = "early_exit"
    opsets = {o.domain: o for m in models for o in m.opset_import}
    model = helper.make_model(
        graph, opset_imports=[opsets[d] for d in sorted(opsets)], ir_version=IR_VERSION, producer_name="eetool"
    )
    helper.set_model_props(model, _metadata(checkpoint, policy))
    return model


def _split(
    checkpoint: Checkpoint, network: ScoredNetwork, policy: Policy
) -> tuple[list[ComponentModule], dict[str, torch.Tensor]]:
    """Return the components at batch 1, and an example of every tensor that one of them reads or computes."""
    example = {spec.name: checkpoint.samples[spec.name][:1] for spec in checkpoint.record.spec.inputs}
    example |= scalar_inputs(policy)
    graph = trace_network(network, tuple(example.values()), shared=0)
    components = split_graph(graph, list(example), [exit_output_names(i) for i in range(network.n_exits)])
    return components, run_components(components, example)


def _inputs(checkpoint: Checkpoint) -> list[onnx.ValueInfoProto]:
    values = []
    for spec in checkpoint.record.spec.inputs:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        values.append(helper.make_tensor_value_info(spec.name, element, [1, *checkpoint.samples[spec.name].shape[1:]]))
    return values


def _stages(
    components: Sequence[ComponentModule], graphs: Sequence[onnx.GraphProto], n_exits: int
) -> list[ConditionalStage]:
    stages: list[ConditionalStage] = []
    waiting: list[onnx.GraphProto] = []
    for component, graph in zip(components, graphs, strict=True):
        waiting.append(graph)
        if exit_output_names(len(stages))[0] in component.outputs:
            stages.append(ConditionalStage(tuple(waiting), *exit_output_names(len(stages))))
            waiting = []
    assert len(stages) == n_exits
    assert not waiting
    return stages


def _metadata(checkpoint: Checkpoint, policy: Policy) -> dict[str, str]:
    """Return the metadata that a program needs beside the graph. All values but the first are JSON."""
    spec = checkpoint.record.spec
    points = {
        name: {"thresholds": [threshold_value(t) for t in point.thresholds], "expected": point.expected}
        for name, point in policy.operating_points.items()
    }
    values: dict[str, Any] = {
        "inputs": spec.inputs,
        "labels": spec.labels,
        "score": policy.score,
        "temperatures": policy.temperatures,
        "operating_points": points,
    }
    compact = {
        f"eetool.{key}": json.dumps(encode(value), ensure_ascii=False, allow_nan=False) for key, value in values.items()
    }
    return {"eetool.single": LAYOUT_VERSION, **compact}


def _serialise(model: ModelProto) -> bytes:
    size_bytes = model.ByteSize()
    if size_bytes > _MAX_BYTES:
        raise ArtefactError(f"one ONNX file holds at most 2 GiB; this model needs {size_bytes}", "Export a bundle.")
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _prove(path: Path, checkpoint: Checkpoint, network: ScoredNetwork, policy: Policy) -> tuple[Parity, ...]:
    """Run the file at every exit and every operating point on every sample, and compare it with the model."""
    inputs = {spec.name: checkpoint.samples[spec.name] for spec in checkpoint.record.spec.inputs}
    with torch.no_grad():
        expected = [x.numpy() for x in network(*inputs.values(), *scalar_inputs(policy).values())]
    exits = list(zip(expected[::2], expected[1::2], strict=True))
    try:
        graph = backend_for("onnx").open(path, Threads())
    except EarlyExitError as error:
        raise ArtefactError(f"the assembled file does not load: {error.message}") from error
    arrays = {name: x.numpy() for name, x in inputs.items()}
    checks, parities = [], []
    early = len(exits) - 1
    for i, (logits, confidence) in enumerate(exits):
        leave: Thresholds = ((NEVER,) * i + (0.0,) * early)[:early]
        outputs = run_single(graph, arrays, leave)
        pairs = ((outputs[LOGITS], logits), (outputs[CONFIDENCE], confidence))
        parity = max((compare_tensors(a, b, _RELATIVE) for a, b in pairs), key=_relative_error)
        parities.append(parity)
        checks.append(ParityCheck(f"exit {i}", parity.holds and bool((outputs[EXIT] == i).all()), str(parity)))
    confidences = np.stack([confidence for _, confidence in exits])
    for name, point in policy.operating_points.items():
        taken, wanted = run_single(graph, arrays, point.thresholds)[EXIT], exits_taken(confidences, point.thresholds)
        near = near_threshold(confidences, point.thresholds, taken, wanted, _RELATIVE)
        checks.append(decisions_check(f"decisions at {name}", taken, wanted, near))
    require_parity(checks, "the file")
    return tuple(parities)


def run_single(graph: Graph, inputs: Mapping[str, np.ndarray], thresholds: Thresholds) -> Arrays:
    """Run a single file on inputs (n, …), one by one, and return its outputs with n rows."""
    limits = {threshold_name(i): np.array(threshold_value(t), np.float32) for i, t in enumerate(thresholds)}
    rows = []
    for i in range(len(next(iter(inputs.values())))):
        feed = {name: x[i : i + 1] for name, x in inputs.items()} | limits
        rows.append(dict(zip(graph.outputs, graph.run(feed), strict=True)))
    return {name: np.concatenate([row[name] for row in rows]) for name in OUTPUTS}


def _relative_error(parity: Parity) -> float:
    return parity.max_abs_error / parity.tolerance
