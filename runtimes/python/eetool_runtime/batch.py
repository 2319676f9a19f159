"""Many inputs at once: behind every exit, only those go on that have not left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .backends import Graph
from .component_call import run_component
from .execution_plan import Gate, PlanStep
from .manifest import BATCH, Manifest, Variant

Seen = list[tuple[int, float]]
# Who left at one gate: the gate, the MACs of each, and (row, confidence, logits (classes,), confidences seen) of each.
Left = tuple[Gate, int, list[tuple[int, float, np.ndarray, Seen]]]


def can_compact(manifest: Manifest, variant: Variant) -> bool:
    """Whether rows can be taken out of every tensor: any batch size runs, and each tensor says where its rows are.

    A tensor with sizes that are not known before the call, and no dimension called `batch`, might hold rows anywhere.
    """
    tensors = {**manifest.tensors, **variant.tensors}.values()
    return variant.batch is None and all(BATCH in t.shape or all(isinstance(s, int) for s in t.shape) for t in tensors)


def leave_in_groups(
    steps: Sequence[PlanStep],
    graphs: Sequence[Graph],
    tensors: dict[str, np.ndarray],
    n: int,
    manifest: Manifest,
    variant: Variant,
) -> Iterator[Left]:
    """Run `steps` on `tensors` (`n` rows) and yield who leaves where; `graphs` in the order of the manifest."""
    made = {**manifest.tensors, **variant.tensors}
    axes = {name: t.shape.index(BATCH) for name, t in made.items() if BATCH in t.shape}
    axes.update({i.name: 0 for i in manifest.inputs})
    rows, seen = np.arange(n), [Seen() for _ in range(n)]
    for position, (place, gate, macs, _) in enumerate(steps):
        graph = graphs[place]
        run_component(graph, tensors, made, len(rows))
        if gate is None:
            continue
        confidence, logits = tensors[gate.confidence], tensors[gate.logits]
        for row, sure in zip(rows.tolist(), confidence.tolist()):
            seen[row].append((gate.exit_index, sure))
        last = position == len(steps) - 1
        leaves = np.full(len(rows), True) if last else confidence.astype(np.float64) >= gate.threshold
        if leaves.any():
            here = np.flatnonzero(leaves).tolist()
            yield gate, macs, [(int(rows[i]), confidence[i].item(), logits[i], seen[rows[i]]) for i in here]
            stays = np.flatnonzero(~leaves)
            if not len(stays):
                return
            rows = rows[stays]
            needed = {name for later in steps[position + 1 :] for name in graphs[later.place].inputs}
            for name in needed & tensors.keys() & axes.keys():
                tensors[name] = tensors[name].take(stays, axis=axes[name])
