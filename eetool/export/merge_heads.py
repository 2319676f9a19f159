"""Joins exit heads with their segments: a dispatch less for every input, but a head that can no longer be skipped."""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, fx

from eetool.errors import ArtefactError
from eetool.export.split import ComponentModule
from eetool.export.traced_model import TracedModel, default_operating_point
from eetool.model.macs import count_macs
from eetool.progress import Progress
from eetool_measure.results import ThreadTimes
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import Expected, Manifest, OperatingPoint

NONE, AUTO, ALL = MODES = ("none", "auto", "all")


def merge_model(model: TracedModel, mode: str, figures: ThreadTimes | None, progress: Progress) -> TracedModel:
    """`model` with joined pieces, as `merge` decides at its default operating point; notes go to `progress`."""
    point = model.policy.operating_points[default_operating_point(model.policy)]
    pieces, notes = merge_heads(model.components, mode, point, figures, model.example(1))
    for note in notes:
        progress.note(note)
    return replace(model, components=tuple(pieces))


def merge_heads(
    pieces: Sequence[ComponentModule],
    mode: str,
    point: OperatingPoint | None = None,
    figures: ThreadTimes | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> tuple[list[ComponentModule], list[str]]:
    """Join early exits' heads with the segments before them; returns the pieces, and notes for the user.

    `none` joins nothing and `all` joins every head that stands directly behind a segment. `auto` joins the head of
    exit k where, at the default operating point, a dispatch costs an input more than a head of its own saves it::

        reach_k · gate_k · dispatch  >  reach_k · (1 − gate_k) · head_k

    reach_k is the share of inputs that get as far as exit k, gate_k is 1 if its threshold is a number and 0 if it is
    null (only then is a head of its own skipped), head_k is the measured time of the head alone. `dispatch` is what
    one more component was measured to cost: what the split adds per component plus what the runtime adds, each at the
    lower end of its 95 % interval, so that noise joins nothing.

    No mode drops an exit: that would renumber the others and leave thresholds and expected figures that were fitted
    together without ground. Where the figures say that an exit cannot pay, a note says so: its head costs
    reach_k · head_k and it saves at most share_k · (full depth − leaving at k).

    Args:
        point: the default operating point, with its expected exit shares. `auto` needs it.
        figures: times of these pieces, measured on a bundle that was exported with `none`. `auto` needs them.
        tensors: an example of every tensor, batch 1, to see that `figures` are of these pieces. `auto` needs them.

    Raises:
        ArtefactError: the figures are of other components.
    """
    heads = [i for i, piece in enumerate(pieces) if _follows_its_segment(pieces, i)]
    notes: list[str] = []
    if mode == NONE or not heads:
        return list(pieces), notes
    if mode == AUTO:
        if figures is None or point is None or point.expected is None:
            lacks = "the measured times of a profile" if figures is None else "an operating point with exit shares"
            return list(pieces), [f"merge auto: without {lacks} there is nothing to decide by, so nothing was joined"]
        _check_same(pieces, figures, tensors or {})
        notes = _hopeless(pieces, point.expected, figures)
        heads = [i for i in heads if _pays(_exit_index(pieces, i), point, point.expected, figures, pieces[i].name)]
    joined = [pieces[i].name for i in heads]
    notes.insert(0, f"merge {mode}: {', '.join(joined) if joined else 'nothing'} joined")
    return _join_all(pieces, heads), notes


def recount_macs(manifest: Manifest, unsplit_macs: int) -> Manifest:
    """`manifest` with its figures in MACs put right where heads are joined: these run though no gate stands on them."""
    if all(c.kind != "joined" for c in manifest.components):
        return manifest
    variants = {
        key: replace(v, operating_points={name: _charged(manifest, p) for name, p in v.operating_points.items()})
        for key, v in manifest.variants.items()
    }
    return replace(manifest, unsplit_macs=unsplit_macs, variants=variants)


def _charged(manifest: Manifest, point: OperatingPoint) -> OperatingPoint:
    if point.expected is None:
        return point
    macs = {s.gate.exit_index: s.macs for s in plan_steps(manifest, point.thresholds) if s.gate is not None}
    shares = enumerate(point.expected.exit_shares)
    mean = sum(share * macs[k] for k, share in shares if share > 0)
    return replace(point, expected=replace(point.expected, mean_macs=float(mean)))


def _follows_its_segment(pieces: Sequence[ComponentModule], index: int) -> bool:
    """Whether the piece is an early exit's head directly behind a segment; the final exit holds its tail already."""
    early_head = pieces[index].kind == "exit" and index < len(pieces) - 1
    return early_head and index > 0 and pieces[index - 1].kind == "segment"


def _exit_index(pieces: Sequence[ComponentModule], index: int) -> int:
    return sum(piece.kind == "exit" for piece in pieces[:index])


def _join_all(pieces: Sequence[ComponentModule], heads: Collection[int]) -> list[ComponentModule]:
    made: list[ComponentModule] = []
    for i, piece in enumerate(pieces):
        if i in heads:
            later = {name for other in pieces[i + 1 :] for name in other.inputs}
            made[-1] = _join(made[-1], piece, later)
        else:
            made.append(piece)
    return made


def _join(segment: ComponentModule, head: ComponentModule, read_later: Collection[str]) -> ComponentModule:
    """Both in one graph. What only the head read of the segment is no output any more."""
    graph = fx.Graph()
    tensors: dict[str, fx.Node] = {}
    inputs: list[str] = []
    for piece in (segment, head):
        copies: dict[fx.Node, fx.Node] = {}
        places = [node for node in piece.module.graph.nodes if node.op == "placeholder"]
        for name, place in zip(piece.inputs, places, strict=True):
            if name not in tensors:
                tensors[name] = graph.node_copy(place)
                inputs.append(name)
            copies[place] = tensors[name]
        results: Any = graph.graph_copy(piece.module.graph, copies)
        tensors.update(zip(piece.outputs, results, strict=True))
    outputs = [name for name in (*segment.outputs, *head.outputs) if name in read_later or name in head.outputs]
    graph.output(tuple(tensors[name] for name in outputs))
    graph.lint()
    weights = {**_weights(segment.module), **_weights(head.module)}  # cut from one network, so equal names are one
    module = fx.GraphModule(weights, graph, class_name=segment.name)
    shapes = {**segment.shapes, **head.shapes}
    return ComponentModule(segment.name, "joined", module, tuple(inputs), tuple(outputs), shapes)


def _weights(module: fx.GraphModule) -> dict[str, Any]:
    targets = {str(node.target) for node in module.graph.nodes if node.op in ("get_attr", "call_module")}
    return {target: operator.attrgetter(target)(module) for target in sorted(targets)}


def _check_same(pieces: Sequence[ComponentModule], figures: ThreadTimes, tensors: Mapping[str, Tensor]) -> None:
    macs = {p.name: count_macs(p.module, tuple(tensors[name] for name in p.inputs)) for p in pieces}
    measured = {c.name: c.macs for c in figures.components}
    if measured != macs:
        raise ArtefactError(
            f"the profile is of other components: it has {_listed(measured)}; this model has {_listed(macs)}",
            "Export with --merge none, run `eetool profile` on that bundle, and give its document.",
        )


def _listed(macs: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count / 1e6:.2f} M MACs)" for name, count in macs.items())


def _pays(k: int, point: OperatingPoint, expected: Expected, figures: ThreadTimes, head: str) -> bool:
    """The rule of `merge`."""
    reach = 1 - sum(expected.exit_shares[:k])
    gate = point.thresholds[k] is not None
    return reach * gate * _dispatch_ms(figures) > reach * (1 - gate) * _alone_ms(figures, head)


def _hopeless(pieces: Sequence[ComponentModule], expected: Expected, figures: ThreadTimes) -> list[str]:
    """A note for every early exit that cannot save what its head costs."""
    heads = [piece.name for piece in pieces if piece.kind == "exit"][:-1]
    through = figures.cascade[-1].latency_ms.median
    notes = []
    for k, head in enumerate(heads):
        costs = (1 - sum(expected.exit_shares[:k])) * _alone_ms(figures, head)
        saves = expected.exit_shares[k] * (through - figures.cascade[k].latency_ms.median)
        if costs > saves:
            notes.append(
                f"exit {k} does not pay at the default operating point: its head costs {costs:.3g} ms per input, "
                f"leaving there saves at most {saves:.3g} ms; a model without this exit would be faster"
            )
    return notes


def _alone_ms(figures: ThreadTimes, name: str) -> float:
    return next(c.latency_ms.median for c in figures.components if c.name == name)


def _dispatch_ms(figures: ThreadTimes) -> float:
    split = figures.overhead.split_us_per_component
    runtime = figures.cascade[-1].runtime_us_per_component
    return sum(found.ci95[0] for found in (split, runtime) if found is not None) / 1e3
