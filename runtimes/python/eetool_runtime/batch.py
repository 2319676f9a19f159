"""Batched inference: after every exit, only the inputs that have not left continue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .backends import Graph
from .component_call import run_component
from .execution_plan import Gate, PlanStep
from .manifest import BATCH, Exit, Manifest, Tensor, Variant

Confidences = list[tuple[int, float]]  # (exit, confidence)
# Inputs that leave at one gate: the gate, MACs per input, and per input its row, confidence, logits (classes,) and
# the confidences at the gates it reached.
ExitGroup = tuple[Gate, int, list[tuple[int, float, np.ndarray, Confidences]]]


def can_compact(manifest: Manifest, variant: Variant) -> bool:
    """Return whether rows can be removed from every tensor.

    That needs a variant of any batch size. A tensor without a dimension `batch` must have a fixed shape; otherwise
    the position of its rows is unknown.
    """
    tensors = {**manifest.tensors, **variant.tensors}.values()
    return variant.batch is None and all(BATCH in t.shape or all(isinstance(s, int) for s in t.shape) for t in tensors)


def run_every_exit(
    exits: Sequence[Exit],
    graphs: Sequence[Graph],
    tensors: dict[str, np.ndarray],
    declared: Mapping[str, Tensor],
    rows: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Run all `graphs` on `tensors`, which get the outputs; return the logits and the confidence of every exit."""
    for graph in graphs:
        run_component(graph, tensors, declared, rows)
    return [(tensors[e.logits], tensors[e.confidence]) for e in exits]


def run_batch(
    steps: Sequence[PlanStep],
    graphs: Sequence[Graph],
    tensors: dict[str, np.ndarray],
    n: int,
    manifest: Manifest,
    variant: Variant,
) -> Iterator[ExitGroup]:
    """Run `steps` on `tensors` (`n` rows) and yield the inputs that leave at each gate.

    Args:
        steps: of the execution plan.
        graphs: in the order of the manifest.
        tensors: inputs and constants by name; outputs are added.
        n: number of inputs.
        manifest: of the bundle.
        variant: whose graphs are run.
    """
    declared = {**manifest.tensors, **variant.tensors}
    axes = {name: t.shape.index(BATCH) for name, t in declared.items() if BATCH in t.shape}
    axes.update({i.name: 0 for i in manifest.inputs})
    rows, seen = np.arange(n), [Confidences() for _ in range(n)]
    for number, (position, gate, macs, _) in enumerate(steps):
        graph = graphs[position]
        run_component(graph, tensors, declared, len(rows))
        if gate is None:
            continue
        confidence, logits = tensors[gate.confidence], tensors[gate.logits]
        for row, value in zip(rows.tolist(), confidence.tolist()):
            seen[row].append((gate.exit_index, value))
        last = number == len(steps) - 1
        leaves = np.full(len(rows), True) if last else confidence.astype(np.float64) >= gate.threshold
        if leaves.any():
            leaving = np.flatnonzero(leaves).tolist()
            yield gate, macs, [(int(rows[i]), confidence[i].item(), logits[i], seen[rows[i]]) for i in leaving]
            remaining = np.flatnonzero(~leaves)
            if not len(remaining):
                return
            rows = rows[remaining]
            needed = {name for later in steps[number + 1 :] for name in graphs[later.position].inputs}
            for name in needed & tensors.keys() & axes.keys():
                tensors[name] = tensors[name].take(remaining, axis=axes[name])
