"""Merge of exit heads with their segments: one dispatch less per input, but the head can no longer be skipped."""

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
    """Return `model` with joined components, by `mode` at its default operating point. Notes go to `progress`."""
    point = model.policy.operating_points[default_operating_point(model.policy)]
    components, notes = merge_heads(model.components, mode, point, figures, model.example(1))
    for note in notes:
        progress.note(note)
    return replace(model, components=tuple(components))


def merge_heads(
    components: Sequence[ComponentModule],
    mode: str,
    point: OperatingPoint | None = None,
    figures: ThreadTimes | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> tuple[list[ComponentModule], list[str]]:
    """Join early exits' heads with the segments before them, and return the components and notes for the user.

    Mode `none` joins nothing, `all` joins every head directly behind a segment. `auto` joins the head of exit k where,
    at the default operating point, a dispatch costs an input more than a separate head saves::

        reach_k · gate_k · dispatch  >  reach_k · (1 − gate_k) · head_k

    reach_k is the share of inputs that reach exit k. gate_k is 1 if its threshold is a number and 0 if it is null (only
    then a separate head is skipped). head_k is the measured time of the head alone. `dispatch` is the measured cost of
    one more component: the cost of the split per component plus that of the runtime. Both are taken at the lower end
    of their 95 % interval, so that noise joins nothing.

    No mode drops an exit: that would renumber the others, and thresholds and expected figures are fitted together.
    Where an exit costs more than it saves, a note reports it: its head costs reach_k · head_k, and it saves at most
    share_k · (full depth − leaving at k).

    Args:
        components: components in running order.
        mode: `none`, `auto` or `all`.
        point: the default operating point, with its expected exit shares; for `auto`.
        figures: times of these components, measured on a bundle that was exported with `none`; for `auto`.
        tensors: an example of every tensor, batch 1, to check that `figures` are of these components; for `auto`.

    Raises:
        ArtefactError: the figures are of other components.
    """
    heads = [i for i, component in enumerate(components) if _follows_its_segment(components, i)]
    notes: list[str] = []
    if mode == NONE or not heads:
        return list(components), notes
    if mode == AUTO:
        if figures is None or point is None or point.expected is None:
            missing = "the measured times of a profile" if figures is None else "an operating point with exit shares"
            return list(components), [
                f"merge auto: without {missing} there is nothing to decide by, so nothing was joined"
            ]
        _check_same(components, figures, tensors or {})
        notes = _costly_exits(components, point.expected, figures)
        heads = [
            i
            for i in heads
            if _is_cheaper_joined(_exit_index(components, i), point, point.expected, figures, components[i].name)
        ]
    joined = [components[i].name for i in heads]
    notes.insert(0, f"merge {mode}: {', '.join(joined) if joined else 'nothing'} joined")
    return _join_all(components, heads), notes


def recount_macs(manifest: Manifest, unsplit_macs: int) -> Manifest:
    """Return `manifest` with the MACs of joined heads, which also run where their gate never fires."""
    if all(c.kind != "joined" for c in manifest.components):
        return manifest
    variants = {
        key: replace(v, operating_points={name: _with_joined(manifest, p) for name, p in v.operating_points.items()})
        for key, v in manifest.variants.items()
    }
    return replace(manifest, unsplit_macs=unsplit_macs, variants=variants)


def _with_joined(manifest: Manifest, point: OperatingPoint) -> OperatingPoint:
    if point.expected is None:
        return point
    macs = {s.gate.exit_index: s.macs for s in plan_steps(manifest, point.thresholds) if s.gate is not None}
    shares = enumerate(point.expected.exit_shares)
    mean = sum(share * macs[k] for k, share in shares if share > 0)
    return replace(point, expected=replace(point.expected, mean_macs=float(mean)))


def _follows_its_segment(components: Sequence[ComponentModule], index: int) -> bool:
    """Return whether the component is an early exit's head directly behind a segment."""
    early_head = components[index].kind == "exit" and index < len(components) - 1
    return early_head and index > 0 and components[index - 1].kind == "segment"


def _exit_index(components: Sequence[ComponentModule], index: int) -> int:
    return sum(component.kind == "exit" for component in components[:index])


def _join_all(components: Sequence[ComponentModule], heads: Collection[int]) -> list[ComponentModule]:
    joined: list[ComponentModule] = []
    for i, component in enumerate(components):
        if i in heads:
            later = {name for other in components[i + 1 :] for name in other.inputs}
            joined[-1] = join_components(joined[-1], component, later)
        else:
            joined.append(component)
    return joined


def join_components(segment: ComponentModule, head: ComponentModule, read_later: Collection[str]) -> ComponentModule:
    """Return two components in one graph.

    Args:
        segment: a component.
        head: one that runs after it, and is of the same network.
        read_later: names of outputs of the first that stay outputs.
    """
    graph = fx.Graph()
    tensors: dict[str, fx.Node] = {}
    inputs: list[str] = []
    for component in (segment, head):
        copies: dict[fx.Node, fx.Node] = {}
        places = [node for node in component.module.graph.nodes if node.op == "placeholder"]
        for name, place in zip(component.inputs, places, strict=True):
            if name not in tensors:
                tensors[name] = graph.node_copy(place)
                inputs.append(name)
            copies[place] = tensors[name]
        results: Any = graph.graph_copy(component.module.graph, copies)
        tensors.update(zip(component.outputs, results, strict=True))
    outputs = [name for name in (*segment.outputs, *head.outputs) if name in read_later or name in head.outputs]
    graph.output(tuple(tensors[name] for name in outputs))
    graph.lint()
    weights = {**_weights(segment.module), **_weights(head.module)}  # of one network, so equal names are equal weights
    module = fx.GraphModule(weights, graph, class_name=segment.name)
    shapes = {**segment.shapes, **head.shapes}
    return ComponentModule(segment.name, "joined", module, tuple(inputs), tuple(outputs), shapes)


def _weights(module: fx.GraphModule) -> dict[str, Any]:
    targets = {str(node.target) for node in module.graph.nodes if node.op in ("get_attr", "call_module")}
    return {target: operator.attrgetter(target)(module) for target in sorted(targets)}


def _check_same(components: Sequence[ComponentModule], figures: ThreadTimes, tensors: Mapping[str, Tensor]) -> None:
    macs = {p.name: count_macs(p.module, tuple(tensors[name] for name in p.inputs)) for p in components}
    measured = {c.name: c.macs for c in figures.components}
    if measured != macs:
        raise ArtefactError(
            f"the profile is of other components: it has {_listed(measured)}; this model has {_listed(macs)}",
            "Export with --merge none, run `eetool profile` on that bundle, and give its document.",
        )


def _listed(macs: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count / 1e6:.2f} M MACs)" for name, count in macs.items())


def _is_cheaper_joined(k: int, point: OperatingPoint, expected: Expected, figures: ThreadTimes, head: str) -> bool:
    """Return whether joining a head costs less than a separate component, by the rule of `merge_heads`."""
    reach = 1 - sum(expected.exit_shares[:k])
    gate = point.thresholds[k] is not None
    return reach * gate * _dispatch_ms(figures) > reach * (1 - gate) * _alone_ms(figures, head)


def _costly_exits(components: Sequence[ComponentModule], expected: Expected, figures: ThreadTimes) -> list[str]:
    """Return a note for every early exit whose head costs more than the exit can save."""
    heads = [component.name for component in components if component.kind == "exit"][:-1]
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
    return sum(spread.ci95[0] for spread in (split, runtime) if spread is not None) / 1e3
