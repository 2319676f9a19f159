"""The model an application holds: runs components in order and stops at the first gate that fires."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional, Union

import numpy as np

from .backends import Graph, Threads
from .bundle import Bundle
from .errors import InputError, UsageError
from .gate import Stage, plan, unsplit_macs
from .manifest import OperatingPoint
from .preprocess import check, check_together, finite, preprocess, share_symbols
from .stats import Stats

Arrays = Union[np.ndarray, Mapping[str, np.ndarray]]


class Result:
    """The answer to one input. `exit` counts from 0; the last one is the final exit."""

    __slots__ = ("_labels", "_temperature", "confidence", "exit", "latency_ms", "logits")

    def __init__(
        self,
        exit_index: int,
        confidence: float,
        logits: np.ndarray,
        temperature: float,
        labels: tuple[str, ...],
        latency_ms: float,
    ) -> None:
        self.exit = exit_index
        self.confidence = confidence
        self.logits = logits
        self.latency_ms = latency_ms
        self._temperature = temperature
        self._labels = labels

    @property
    def index(self) -> int:
        """Number of the class with the largest logit."""
        return int(self.logits.argmax())

    @property
    def label(self) -> str:
        """Name of the class with the largest logit."""
        return self._labels[self.index]

    @property
    def probabilities(self) -> np.ndarray:
        """float32 (classes,): softmax of the logits over the exit's temperature."""
        return softmax(self.logits / np.float32(self._temperature))

    def __repr__(self) -> str:
        return f"Result(label={self.label!r}, exit={self.exit}, confidence={self.confidence:.4f})"


class Model:
    """A loaded bundle. Calls may come from several threads at once."""

    def __init__(self, bundle: Bundle, variant: str, graphs: Mapping[str, Graph], threads: Threads) -> None:
        self.bundle = bundle
        self.variant = variant
        self.threads = threads
        self._manifest = bundle.manifest
        self._graphs = graphs
        self._fitted = bundle.manifest.variants[variant]
        self._temperatures = {
            e.temperature: np.array(t, np.float32) for e, t in zip(self._manifest.exits, self._fitted.temperatures)
        }
        self._stats = Stats(len(self._manifest.exits))
        self._first_input = self._manifest.inputs[0].name
        self._accepted: tuple[object, object] = (None, None)
        self._symbols_shared = share_symbols(self._manifest.inputs)
        self._unsplit_macs = unsplit_macs(self._manifest)
        self.use(self._manifest.default_operating_point)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._manifest.labels

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """The named settings of the variant in use, with their expected figures."""
        return dict(self._fitted.operating_points)

    @property
    def thresholds(self) -> tuple[Optional[float], ...]:
        """Thresholds in use, one per early exit; None never fires."""
        return self._policy[1]

    @property
    def operating_point(self) -> Optional[str]:
        """Name of the operating point in use, or None after `use(threshold=...)`."""
        return self._policy[2]

    def use(
        self,
        operating_point: Optional[str] = None,
        *,
        threshold: Union[float, tuple[Optional[float], ...], None] = None,
    ) -> None:
        """Move the knob: a named operating point, one threshold for every early exit, or one for each.

        Calls under way finish as they began.

        Raises:
            UsageError: the name is unknown, a threshold is out of range, or both or neither were given.
        """
        if (operating_point is None) == (threshold is None):
            raise UsageError("use() takes an operating point or a threshold")
        thresholds: tuple[Optional[float], ...]
        if operating_point is not None:
            points = self._fitted.operating_points
            if operating_point not in points:
                raise UsageError(
                    f"unknown operating point {operating_point!r}", f"This bundle has: {', '.join(points)}."
                )
            thresholds = points[operating_point].thresholds
        elif isinstance(threshold, (tuple, list)):
            thresholds = tuple(threshold)
        else:
            thresholds = (threshold,) * self._manifest.n_early_exits
        # One assignment, so that a call in another thread sees the old policy or the new one.
        self._policy = (plan(self._manifest, thresholds), thresholds, operating_point)

    def preprocess(self, raw: np.ndarray) -> np.ndarray:
        """Raw pixels to the model's input; see `eetool_runtime.preprocess.preprocess`."""
        return preprocess(raw, self._manifest.inputs[0])

    def __call__(self, inputs: Arrays) -> Result:
        """Answer one input at batch 1.

        Args:
            inputs: one array, or `{input name: array}` where the model has several inputs.

        Raises:
            InputError: a name, shape or dtype is off, or values are not finite.
        """
        start = time.perf_counter_ns()
        tensors = self._bind(inputs)
        for stage in self._policy[0]:
            self._run(stage.component, tensors)
            gate = stage.gate
            if gate is not None:
                confidence = tensors[gate.confidence].item()
                if confidence >= gate.threshold or gate.exit_index == self._manifest.n_early_exits:
                    return self._finish(stage, tensors[gate.logits][0], confidence, start)
        raise AssertionError("a plan ends with the final exit")

    def every_exit(self, inputs: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
        """Logits (N, classes) and confidence (N,) of every exit, none skipped, for a batch of any size."""
        tensors = self._check(inputs, any_batch=True)
        if self._fitted.batch is None:
            return self._every_exit(tensors)
        rows = range(len(tensors[self._first_input]))
        parts = [self._every_exit({n: t[i : i + 1] if t.ndim else t for n, t in tensors.items()}) for i in rows]
        return [(np.concatenate([p[0] for p in e]), np.concatenate([p[1] for p in e])) for e in zip(*parts)]

    def _every_exit(self, tensors: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        for c in self._manifest.components:
            self._run(c.name, tensors)
        return [(tensors[e.logits], tensors[e.confidence]) for e in self._manifest.exits]

    def stats(self) -> dict[str, Any]:
        """Exit counts, mean depth, compute saved and latency since loading; see `Stats.snapshot`."""
        point = self._fitted.operating_points.get(self.operating_point or "")
        figures = self._stats.snapshot(self._unsplit_macs, point.expected if point else None)
        return {
            **figures,
            "operating_point": self.operating_point,
            "variant": self.variant,
            "threads": self.threads.count,
            "pool": self.threads.pool,
        }

    def _bind(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Checked tensors by name. An array that looks like the last one that passed is only tested for NaN."""
        if isinstance(inputs, np.ndarray):
            if (inputs.shape, inputs.dtype) == self._accepted and finite(inputs):
                return {self._first_input: inputs, **self._temperatures}
            tensors = self._check(inputs, any_batch=False)
            self._accepted = (inputs.shape, inputs.dtype)
            return tensors
        return self._check(inputs, any_batch=False)

    def _check(self, inputs: Arrays, any_batch: bool) -> dict[str, np.ndarray]:
        specs = self._manifest.inputs
        if not isinstance(inputs, Mapping):
            if len(specs) > 1:
                raise InputError(f"the model has {len(specs)} inputs; give a dict with {[s.name for s in specs]}")
            inputs = {specs[0].name: inputs}
        if set(inputs) != {s.name for s in specs}:
            raise InputError(f"expected inputs {[s.name for s in specs]}, found {sorted(map(str, inputs))}")
        tensors = {s.name: check(inputs[s.name], s, any_batch=any_batch) for s in specs}
        if self._symbols_shared:
            check_together(tensors, specs)
        tensors.update(self._temperatures)
        return tensors

    def _run(self, component: str, tensors: dict[str, np.ndarray]) -> None:
        """Run one component on the tensors it reads and add those it makes, all by name."""
        graph = self._graphs[component]
        tensors.update(zip(graph.outputs, graph.run({name: tensors[name] for name in graph.inputs})))

    def _finish(self, stage: Stage, logits: np.ndarray, confidence: float, start: int) -> Result:
        assert stage.gate is not None
        index = stage.gate.exit_index
        latency_ms = (time.perf_counter_ns() - start) / 1e6
        self._stats.record(index, confidence, stage.macs, latency_ms)
        return Result(index, confidence, logits, self._fitted.temperatures[index], self.labels, latency_ms)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return total
