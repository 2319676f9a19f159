"""Components in which every tensor is int8, for microcontrollers: converted, quantised, and proved in tflite_micro.

The confidence of an exit is no part of its file: a device computes it from the logits, with the gate. A tensor between
components has its channels last, as the kernels do, and one scale and zero point in all files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
from torch import Tensor, fx

from eetool.errors import ArtefactError, UsageError, VerificationError
from eetool.export.converters.to_tflite import export_tflite
from eetool.export.litert_difference import LitertDifference, compare_with_litert
from eetool.export.merge_heads import join_components
from eetool.export.operator_check import naming_operator
from eetool.export.parity import component_parity
from eetool.export.split import ComponentModule, output_nodes
from eetool.export.traced_model import Arrays, TracedModel
from eetool.export.variants import INT8, VariantKind, require_tflm_operators
from eetool.graphs.calibration_feeds import save_feeds
from eetool.graphs.quantize import QuantizationJob, quantize
from eetool.graphs.quantize_full_integer import stored_quantization
from eetool.graphs.tflite_cut import cut_tflite
from eetool.graphs.tflite_graph import read_tflite
from eetool.graphs.tflite_layout import keep_channels_last
from eetool.graphs.tflm_operators import float_operators
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.scored_network import LOGITS, exit_output_names
from eetool.progress import Advance
from eetool.workspace import scratch
from eetool_runtime import manifest as m

_TO_CHANNELS_LAST = (0, 2, 3, 1)
STEPS = 3  # of `advance` for each graph
_FLOAT, _INT8 = "float32", "int8"
_OTHER_TAPS = "Attach the exits to other modules."


@dataclass
class FullIntegerGraphs:
    """Graphs of one variant.

    Attributes:
        graphs: by place in the bundle.
        tensors: the tensors between components as they are in this variant.
        relative_rms: `Parity.relative_rms` of every graph against the model.
        litert: how far each graph is from the same file in LiteRT.
        notes: what a user should know.
    """

    graphs: dict[str, m.GraphFile] = field(default_factory=dict)
    tensors: dict[str, m.Tensor] = field(default_factory=dict)
    relative_rms: dict[str, float] = field(default_factory=dict)
    litert: dict[str, LitertDifference] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_full_integer(
    model: TracedModel,
    places: Mapping[str, ComponentModule],
    kind: VariantKind,
    folder: Path,
    calibration: Mapping[str, np.ndarray],
    advance: Advance,
) -> FullIntegerGraphs:
    """Write the graphs of a variant for microcontrollers.

    Args:
        model: the traced model.
        places: components and references by their place in the bundle, in running order.
        kind: the variant.
        folder: of the bundle.
        calibration: model inputs (n, …) by name.
        advance: receives `STEPS` for each graph.

    Raises:
        UsageError: the gate score is not one that a device computes.
        ArtefactError: a tensor is of another type than float32, an operator is none of TFLM's, or a tensor cannot have
            one scale on both sides of a boundary.
        VerificationError: a graph does not load in tflite_micro, or computes something else there.
    """
    _require_simple_gate(model)
    logits, confidences = zip(*map(exit_output_names, range(model.network.n_exits)), strict=True)
    parts = {place: _without_outputs(part, frozenset(confidences)) for place, part in places.items()}
    _require_floats(parts)
    with scratch() as temporary:
        files = {place: temporary / place / "model.tflite" for place in parts}
        with naming_operator(lambda: model, kind.base):
            channels_last = _convert(model, parts, temporary / "whole.tflite")
        cases = [_in_file_layout(case, channels_last) for case in model.alone]
        _cut(model, parts, temporary / "whole.tflite", files, cases, kind, advance)
        targets = {place: folder / kind.file(place) for place in parts}
        tensors = (_in_file_layout(case, channels_last) for case in model.calibration(calibration))
        _quantize(parts, files, targets, tensors, temporary, advance)
    boundaries = [name for part in parts.values() for name in part.outputs if name not in (*logits, LOGITS)]
    types = {name: m.Tensor(_INT8, (m.BATCH, *cases[0][name].shape[1:])) for name in boundaries}
    written = FullIntegerGraphs(tensors=types)
    for place, part in parts.items():
        _prove(written, place, part, kind, targets[place], cases)
        advance(1)
    share = max(difference.share for difference in written.litert.values())
    steps = max(difference.largest_steps for difference in written.litert.values())
    written.notes.append(
        f"{kind.name}: proved in tflite_micro; at most {100 * share:.2g} % of a graph's numbers differ from LiteRT's, "
        f"by up to {steps} {'step' if steps == 1 else 'steps'} of int8"
    )
    return written


def _require_simple_gate(model: TracedModel) -> None:
    if model.policy.score != MAX_SOFTMAX or model.policy.slopes:
        used = f"the gate score {model.policy.score!r}" + (" with Platt scaling" if model.policy.slopes else "")
        raise UsageError(
            f"a microcontroller computes the gate score {MAX_SOFTMAX!r} alone, and this model uses {used}",
            f"Tune it again: --score {MAX_SOFTMAX} --calibration temperature.",
        )


def _without_outputs(component: ComponentModule, names: frozenset[str]) -> ComponentModule:
    """Return the component without outputs `names`, and without the inputs that only these read."""
    if not names.intersection(component.outputs):
        return component
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(component.module.graph, copies)
    outputs = [name for name in component.outputs if name not in names]
    nodes = dict(zip(component.outputs, output_nodes(component.module), strict=True))
    graph.output(tuple(copies[nodes[name]] for name in outputs))
    graph.eliminate_dead_code()
    kept = []
    places = [node for node in graph.nodes if node.op == "placeholder"]
    for name, place in zip(component.inputs, places, strict=True):
        if place.users:
            kept.append(name)
        else:
            graph.erase_node(place)
    graph.lint()
    module = fx.GraphModule(component.module, graph, class_name=component.name)
    shapes = {name: component.shapes[name] for name in (*kept, *outputs)}
    return ComponentModule(component.name, component.kind, module, tuple(kept), tuple(outputs), shapes)


def _require_floats(parts: Mapping[str, ComponentModule]) -> None:
    for part in parts.values():
        for node in (n for n in part.module.graph.nodes if n.op == "placeholder"):
            dtype = str(node.meta["val"].dtype).removeprefix("torch.")
            if dtype != _FLOAT:
                raise ArtefactError(
                    f"{part.name} reads {dtype} ({node.name}); components of microcontrollers read int8, which is made "
                    f"from {_FLOAT}",
                    "Models of texts, which read token ids, cannot be exported for microcontrollers.",
                )


def _in_file_layout(case: Arrays, channels_last: frozenset[str]) -> Arrays:
    return {
        name: np.ascontiguousarray(array.transpose(_TO_CHANNELS_LAST)) if name in channels_last else array
        for name, array in case.items()
    }


def _convert(model: TracedModel, parts: Mapping[str, ComponentModule], path: Path) -> frozenset[str]:
    """Write all components as one float graph whose outputs are those of each, and return which have channels last.

    If each were converted alone, images would be brought from channels last to torch's order and back in each.
    """
    components = [part for part in parts.values() if part.outputs != (LOGITS,)]
    made = {name for part in components for name in part.outputs}
    whole = reduce(lambda first, second: join_components(first, second, made), components)
    example = model.example(1)
    inputs: list[Tensor] = [example[name] for name in whole.inputs]
    export_tflite(whole, inputs, path)
    require_tflm_operators(path, whole.name)
    return keep_channels_last(path, made)


def _cut(
    model: TracedModel,
    parts: Mapping[str, ComponentModule],
    whole: Path,
    files: Mapping[str, Path],
    cases: Sequence[Arrays],
    kind: VariantKind,
    advance: Advance,
) -> None:
    """Cut the float graph of every component out of the whole, and prove each."""
    relative = kind.base.relative
    assert relative is not None
    for place, part in parts.items():
        files[place].parent.mkdir(parents=True)
        outputs = {model.final_logits if name == LOGITS else name: name for name in part.outputs}
        files[place].write_bytes(cut_tflite(whole, part.inputs, outputs))
        parity = component_parity(files[place], part.inputs, part.outputs, cases, relative)
        if not parity.holds:
            raise VerificationError(f"{place} differs from the model before it is quantised: {parity}")
        advance(1)


def _quantize(
    parts: Mapping[str, ComponentModule],
    files: Mapping[str, Path],
    targets: Mapping[str, Path],
    tensors: Iterator[Arrays],
    temporary: Path,
    advance: Advance,
) -> None:
    """Quantise the graphs in running order; each takes over the scales of tensors that an earlier one has."""
    names = dict.fromkeys(name for part in parts.values() for name in part.inputs)
    feeds = save_feeds(temporary / "feeds", list(names), tensors)
    holders: dict[str, str] = {}
    jobs = []
    for place, part in parts.items():
        earlier = {name: holders[name] for name in part.inputs if name in holders}
        jobs.append(
            QuantizationJob("tflm-static", str(files[place]), str(targets[place]), feeds.of(part.inputs), earlier)
        )
        for name in (*part.inputs, *part.outputs):
            holders.setdefault(name, str(targets[place]))
    for place, problem in zip(parts, quantize(jobs, advance), strict=True):
        if problem is not None:
            raise ArtefactError(f"{place} cannot be quantised to int8: {problem}", _OTHER_TAPS)
    for job in jobs:
        for name, holder in job.earlier.items():
            if stored_quantization(Path(job.target), name) != stored_quantization(Path(holder), name):
                raise VerificationError(f"{name} has another scale in {job.target} than in {holder}")


def _prove(
    written: FullIntegerGraphs,
    place: str,
    part: ComponentModule,
    kind: VariantKind,
    path: Path,
    cases: Sequence[Arrays],
) -> None:
    """Run a graph in tflite_micro on the model's own tensors, and compare with the model and with LiteRT."""
    computed = float_operators(read_tflite(path))
    if computed:
        written.notes.append(f"{kind.name}: {part.name} computes {', '.join(computed)} in {_FLOAT}")
    parity = component_parity(path, part.inputs, part.outputs, cases, relative=1.0)
    written.graphs[place] = m.GraphFile(kind.file(place), INT8, parity.max_abs_error, None)
    written.relative_rms[place] = parity.relative_rms
    difference = written.litert[place] = compare_with_litert(path, part.inputs, cases)
    if difference.problem is not None:
        raise VerificationError(f"{place} computes something else in tflite_micro than in LiteRT: {difference.problem}")
