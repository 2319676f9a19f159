"""Batched inference: after every exit, only the inputs that have not left continue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    """Run `steps` on `tensors` (`n` rows) and yield the inputs that leave at each gate, see `BatchRun`."""
    run = BatchRun(graphs, tensors, n, manifest, variant)
    yield from run.steps(steps)
    if len(run.rows) and steps[-1].gate is not None:  # that of the final exit
        yield run.leave_all(steps[-1].gate, steps[-1].macs)


class BatchRun:
    """Inputs of a batch that have not left yet.

    Attributes:
        rows: of these inputs, in the batch.
        tensors: by name; those with a dimension `batch` have one row per input that has not left.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        tensors: dict[str, np.ndarray],
        n: int,
        manifest: Manifest,
        variant: Variant,
    ) -> None:
        """Begin a batch.

        Args:
            graphs: in the order of the manifest.
            tensors: inputs and constants by name; outputs are added.
            n: number of inputs.
            manifest: of the bundle.
            variant: whose graphs are run.
        """
        self.rows, self.tensors = np.arange(n), tensors
        self._seen = [Confidences() for _ in range(n)]
        self._graphs = graphs
        self._declared = {**manifest.tensors, **variant.tensors}
        self._axes = {name: t.shape.index(BATCH) for name, t in self._declared.items() if BATCH in t.shape}
        self._axes.update({i.name: 0 for i in manifest.inputs})

    def steps(self, steps: Sequence[PlanStep], keep: Iterable[str] = ()) -> Iterator[ExitGroup]:
        """Run `steps` and yield the inputs that leave at their gates; ends where none is left.

        Args:
            steps: of the execution plan. At the gate of the last one, too, only inputs leave for which it fires.
            keep: tensors that are needed afterwards.
        """
        reads = [set(self._graphs[step.position].inputs) for step in steps]
        for number, step in enumerate(steps):
            self.run_component(step.position)
            if step.gate is not None:
                later = set().union(*reads[number + 1 :], keep, (step.gate.logits, step.gate.confidence))
                yield from self.leave(step.gate, step.macs, later)
            if not len(self.rows):
                return

    def leave(self, gate: Gate, macs: int, needed: set[str]) -> Iterator[ExitGroup]:
        """Yield the inputs for which `gate` fires, and remove their rows from the tensors in `needed`."""
        confidence = self.tensors[gate.confidence]
        for row, value in zip(self.rows.tolist(), confidence.tolist()):
            self._seen[row].append((gate.exit_index, value))
        leaves = confidence.astype(np.float64) >= gate.threshold
        if leaves.any():
            yield self._group(gate, macs, np.flatnonzero(leaves).tolist())
            remaining = np.flatnonzero(~leaves)
            self.rows = self.rows[remaining]
            for name in needed & self.tensors.keys() & self._axes.keys():
                self.tensors[name] = self.tensors[name].take(remaining, axis=self._axes[name])

    def run_component(self, position: int) -> None:
        """Run a component, without a gate."""
        run_component(self._graphs[position], self.tensors, self._declared, len(self.rows))

    def leave_all(self, gate: Gate, macs: int) -> ExitGroup:
        """Return all inputs that are left, at a gate whose exit has been computed for them."""
        group = self._group(gate, macs, list(range(len(self.rows))))
        self.rows = self.rows[:0]
        return group

    def _group(self, gate: Gate, macs: int, places: list[int]) -> ExitGroup:
        confidence, logits = self.tensors[gate.confidence], self.tensors[gate.logits]
        rows = [int(self.rows[i]) for i in places]
        return gate, macs, [(r, confidence[i].item(), logits[i], self._seen[r]) for i, r in zip(places, rows)]
