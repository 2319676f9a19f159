"""Models with scripted predictions, for tests of applications that embed the runtime.

They need no engine and no file; gates, thresholds, deadlines and statistics are the real ones. docs/embedding.md has
an example.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, Optional

import numpy as np

from .backends import BoundCall, Threads
from .backends.base import check_arrays
from .bundle import Bundle
from .errors import BackendError, UsageError
from .manifest import (
    BATCH,
    SCHEMA_VERSION,
    Component,
    Exit,
    File,
    GraphFile,
    Input,
    Manifest,
    OperatingPoint,
    Preprocess,
    Stream,
    Tensor,
    Variant,
    all_tensors,
)
from .model import Model
from .records import dataclass

Tensors = Mapping[str, np.ndarray]

VARIANT = "fake/fp32"
_MACS = 1_000_000  # of every segment; exits have a hundredth
_CARRIER = "script_number"  # prefix of the tensors that carry the index of a scripted prediction
_POINTS = {"full": None, "balanced": 0.8, "fast": 0.6}


@dataclass(frozen=True)
class ScriptedAnswer:
    """One scripted prediction.

    The input leaves at `exit` if `confidence` reaches the threshold there, else deeper.

    Attributes:
        label: the predicted class.
        exit: first exit with this confidence; the confidence of earlier exits is 0.
        confidence: from `exit` on.
        logits: by default 5 for the label and 0 for the others.
    """

    label: str
    exit: int = 0
    confidence: float = 0.95
    logits: Optional[Sequence[float]] = None


class FakeClock:
    """A clock for `scripted`, in nanoseconds, that only `advance_ms` moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """Return the current time in nanoseconds."""
        return self.now_ns

    def advance_ms(self, milliseconds: float) -> None:
        """Move the clock forward."""
        self.now_ns += round(milliseconds * 1e6)


def scripted(
    script: Sequence[ScriptedAnswer],
    *,
    like: Optional[Bundle] = None,
    labels: Sequence[str] = (),
    early_exits: int = 2,
    input_shape: Sequence[int] = (3, 32, 32),
    component_ms: Optional[Mapping[str, float]] = None,
    clock: Optional[FakeClock] = None,
) -> Model:
    """Return a model that gives the predictions of `script` in turn, again and again.

    Args:
        script: the predictions. Calls from several threads each get their own.
        like: a bundle whose inputs, labels, exits and operating points to copy; the next three are then unused.
        labels: by default those of the script.
        early_exits: their number. Thresholds are 0.8 (`balanced`, the default point), 0.6 (`fast`) or None (`full`).
        input_shape: of the only input, `input`, without the batch dimension; uint8 pixels are divided by 255.
        component_ms: duration of each of `seg0`, `exit0`, `seg1`, ... on `clock`.
        clock: of the model; only `component_ms` and `advance_ms` move it.

    Raises:
        UsageError: the script is empty, or has a label or exit that the model does not have.
    """
    names = tuple(labels) or tuple(dict.fromkeys(answer.label for answer in script))
    manifest = _copy_interface(like.manifest) if like is not None else _manifest(names, early_exits, tuple(input_shape))
    player = _Player(tuple(script), manifest)
    delays = dict(component_ms or {})
    unknown = set(delays) - {c.name for c in manifest.components}
    if unknown:
        raise UsageError(f"component_ms: there is no component {sorted(unknown)[0]!r}")
    if delays and clock is None:
        raise UsageError("component_ms needs a clock=FakeClock()")

    def graph(component: Component) -> FakeGraph:
        declared = all_tensors(manifest, VARIANT)

        def compute(feed: Tensors) -> Tensors:
            if clock is not None:
                clock.advance_ms(delays.get(component.name, 0.0))
            return player.compute(component, feed)

        inputs, outputs = ({name: declared[name] for name in names} for names in (component.inputs, component.outputs))
        return FakeGraph(inputs, outputs, compute, name=component.name)

    graphs = {c.name: graph(c) for c in manifest.components}
    bundle = Bundle(like.path if like is not None else Path("scripted.eebundle"), manifest)
    return Model(bundle, VARIANT, graphs, Threads(), clock=clock or time.perf_counter_ns)


class FakeGraph:
    """A graph computed by a Python function from inputs to outputs, both by name and checked."""

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        compute: Callable[[Tensors], Tensors],
        threads: Threads = Threads(),  # noqa: B008 - frozen, so safe to share
        name: str = "fake graph",
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.threads = threads
        self._compute = compute
        self._name = name

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Return outputs in the order of `outputs`; raises InputError, or BackendError where the function fails."""
        check_arrays(self.inputs, {name: np.asarray(array, order="C") for name, array in feed.items()}, self._name)
        try:
            computed = self._compute(feed)
            return [np.array(computed[name], self.outputs[name].dtype) for name in self.outputs]
        except Exception as error:
            raise BackendError(f"{self._name}: {type(error).__name__}: {error}") from error

    def bind(self, inputs: Tensors, outputs: Tensors) -> BoundCall:
        """Bind to arrays, see `Graph.bind`."""
        check_arrays(self.inputs, inputs, self._name)
        check_arrays(self.outputs, outputs, self._name)
        reads = dict(inputs)

        def call() -> None:
            for name, array in zip(self.outputs, self.run(reads)):
                np.copyto(outputs[name], array)

        return BoundCall(call, reads.__setitem__)


class _Player:
    """Assignment of scripted predictions to inputs. The first segment draws an index; tensors pass it on."""

    def __init__(self, script: tuple[ScriptedAnswer, ...], manifest: Manifest) -> None:
        if not script:
            raise UsageError("the script is empty")
        for answer in script:
            if answer.label not in manifest.labels:
                raise UsageError(f"the script has {answer.label!r}; the labels are {', '.join(manifest.labels)}")
            if not 0 <= answer.exit < len(manifest.exits):
                raise UsageError(f"the script has exit {answer.exit}; the last one is {manifest.n_early_exits}")
            if answer.logits is not None and len(answer.logits) != len(manifest.labels):
                raise UsageError(f"the script has {len(answer.logits)} logits for {len(manifest.labels)} labels")
        self._script = script
        self._exits = {e.component: k for k, e in enumerate(manifest.exits)}
        self._labels = manifest.labels
        self._inputs = {i.name for i in manifest.inputs}
        self._lock = threading.Lock()
        self._numbers = itertools.cycle(range(len(script)))

    def compute(self, component: Component, feed: Tensors) -> Tensors:
        carried = [array for name, array in feed.items() if name.startswith(_CARRIER)]
        if carried:
            numbers = carried[0]
        else:
            rows = len(feed[next(iter(self._inputs & feed.keys()))])
            with self._lock:
                numbers = np.array([[next(self._numbers)] for _ in range(rows)], np.float32)
        if component.name not in self._exits:
            return {component.outputs[0]: numbers}
        answers = [self._script[int(number)] for number in numbers[:, 0]]
        return {
            component.outputs[0]: np.stack([self._logits(answer) for answer in answers]),
            component.outputs[1]: np.array([self._confidence(answer, component.name) for answer in answers]),
        }

    def _logits(self, answer: ScriptedAnswer) -> np.ndarray:
        if answer.logits is not None:
            return np.array(answer.logits, np.float32)
        return np.array([5.0 if label == answer.label else 0.0 for label in self._labels], np.float32)

    def _confidence(self, answer: ScriptedAnswer, component: str) -> float:
        return answer.confidence if self._exits[component] >= answer.exit else 0.0


def _manifest(labels: tuple[str, ...], early_exits: int, shape: tuple[int, ...]) -> Manifest:
    image = Preprocess(1 / 255, (0.0,) * shape[0], (1.0,) * shape[0]) if len(shape) == 3 else None
    points = {name: OperatingPoint((t,) * early_exits) for name, t in _POINTS.items()}
    inputs = (Input("input", "float32", (BATCH, *shape), image),)
    return _assemble("scripted", inputs, labels, points, "balanced")


def _copy_interface(m: Manifest) -> Manifest:
    """Return a manifest with the inputs, labels, exits and operating points of `m`, and components of its own."""
    points = next(iter(m.variants.values())).operating_points
    copied = _assemble(m.name, m.inputs, m.labels, points, m.default_operating_point)
    if m.stream is None:
        return copied
    streams = Stream(
        **{**vars(m.stream), "operating_points": {VARIANT: next(iter(m.stream.operating_points.values()))}}
    )
    return Manifest(**{**vars(copied), "schema_version": m.schema_version, "stream": streams})


def _assemble(
    name: str, inputs: tuple[Input, ...], labels: tuple[str, ...], points: Mapping[str, OperatingPoint], default: str
) -> Manifest:
    early_exits = len(points[default].thresholds)
    components: list[Component] = []
    exits: list[Exit] = []
    tensors: dict[str, Tensor] = {}
    reads = tuple(i.name for i in inputs)
    for k in range(early_exits + 1):
        components.append(Component(f"seg{k}", "segment", reads, (f"{_CARRIER}{k}",), _MACS, 0))
        reads = (f"{_CARRIER}{k}",)
        outputs = (f"exit{k}_logits", f"exit{k}_confidence")
        components.append(Component(f"exit{k}", "exit", (*reads, f"exit{k}_temperature"), outputs, _MACS // 100, 0))
        tensors[f"{_CARRIER}{k}"] = Tensor("float32", (BATCH, 1))
        tensors[outputs[0]] = Tensor("float32", (BATCH, len(labels)))
        tensors[outputs[1]] = Tensor("float32", (BATCH,))
        exits.append(Exit(f"layer{k}" if k < early_exits else None, f"exit{k}", *outputs, f"exit{k}_temperature"))
    graphs = {c.name: GraphFile(f"components/{c.name}.fake", "fp32", 0.0, 0.0) for c in components}
    paths = [g.path for g in graphs.values()] + ["samples/inputs.npz", "samples/fake.npz"]
    variant = Variant(graphs, (1.0,) * (early_exits + 1), dict(points), "samples/fake.npz", 0.0)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        inputs=inputs,
        labels=labels,
        tensors=tensors,
        exits=tuple(exits),
        components=tuple(components),
        variants={VARIANT: variant},
        score="scripted",
        default_operating_point=default,
        samples="samples/inputs.npz",
        producer={},
        files={path: File("0" * 64, 0) for path in paths},
    )
