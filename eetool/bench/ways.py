"""Ways to ship a classifier, ready to be timed: a bundle at one operating point, or a graph without early exits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.bench.example_forms import ModelInput, PictureViews, prepare_inputs
from eetool.errors import ArtefactError
from eetool.graphs.onnx_side_files import invalid_weights
from eetool.wording import counted
from eetool_measure.timing import bind_to
from eetool_runtime.backends import BoundCall, Graph
from eetool_runtime.errors import BackendError, InputError
from eetool_runtime.execution_plan import Thresholds, plan_steps
from eetool_runtime.manifest import Manifest
from eetool_runtime.model import Model
from eetool_runtime.result import Result

UNSPLIT, EARLY_EXIT, AGAINST = "unsplit", "early_exit", "against"


@dataclass(frozen=True)
class WayLabel:
    """Identity of a way.

    Attributes:
        name: unique in a benchmark.
        kind: `unsplit`, `early_exit` or `against`.
        variant: such as `onnx/int8`; None for a file outside of a bundle.
        operating_point: None for a network without early exits.
        macs: MACs of everything that ran by the exit of an input, 0 for a network without early exits; None where they
            are not known.
    """

    name: str
    kind: str
    variant: str | None = None
    operating_point: str | None = None
    macs: Mapping[int, int] | None = None


class CascadeWay:
    """A loaded bundle at one of its operating points. Several ways may share one model."""

    def __init__(self, label: WayLabel, model: Model, inputs: Sequence[ModelInput]) -> None:
        self.name = label.name
        self.model = model
        self._point, self._inputs = label.operating_point, inputs

    def prepare(self, indices: Sequence[int]) -> None:
        """Set the shared model to this operating point, and make the inputs `indices`."""
        self.model.use(self._point)
        prepare_inputs(self._inputs, indices)

    def classify(self, index: int) -> int:
        """Return the predicted class, by early exit."""
        return self.answer(index).index

    def answer(self, index: int) -> Result:
        """Return the result of an input."""
        given = self._inputs[index]
        return self.model(given.for_call() if isinstance(given, PictureViews) else given)


class StaticWay:
    """A graph; its logits are the output `logits`, else its first output.

    `file` is that of a network outside of a bundle, in which the cause of NaN is looked for.
    """

    def __init__(self, name: str, graph: Graph, inputs: Sequence[ModelInput], file: Path | None = None) -> None:
        self.name, self._file = name, file
        self._graph = graph
        self._inputs = inputs
        self._bound: tuple[dict[str, str], BoundCall, np.ndarray] | None = None

    def prepare(self, indices: Sequence[int]) -> None:
        """Make the inputs `indices`."""
        prepare_inputs(self._inputs, indices)

    def classify(self, index: int) -> int:
        """Return the class with the largest logit."""
        return int(self._logits(index).argmax())

    def finite_logits(self, index: int) -> np.ndarray:
        """Return logits (classes,), valid until the next call; raise ArtefactError where one is not finite."""
        logits: np.ndarray = self._logits(index)[0]
        if not np.isfinite(logits).all():
            raise ArtefactError(f"{self.name}: gives NaN or infinite logits for input {index}: {self._cause()}")
        return logits

    def _cause(self) -> str:
        lines = [] if self._file is None else invalid_weights(self._file)
        dtype = next(iter(self._graph.inputs.values())).dtype
        return "; ".join(lines) or f"its weights are finite, so numbers overflow on the way (inputs are {dtype})"

    def check(self, classes: int, where: str) -> None:
        """Raise ArtefactError unless the graph takes the inputs and the result of the first is one logit per class."""
        _check_input(self._graph, self._inputs[0], where)
        try:
            logits = self._logits(0)
        except (BackendError, InputError) as error:
            raise ArtefactError(f"{where}: cannot run on the bundle's input: {error.message}") from None
        if logits.shape != (1, classes):
            raise ArtefactError(f"{where}: expected logits of shape (1, {classes}), found {logits.shape}")
        if logits.dtype.kind != "f":
            raise ArtefactError(f"{where}: its logits are {logits.dtype}, not floats")

    def _logits(self, index: int) -> np.ndarray:
        """Return logits (1, classes) in an array that the next call overwrites."""
        # The cascade calls its graphs in the same way, so the way of calling favours neither side.
        sources, bound, logits = self._bound = self._bound or self._bind()
        for name, array in _feed(self._inputs[index], sources).items():
            bound.read(name, array)
        bound.call()
        return logits

    def _bind(self) -> tuple[dict[str, str], BoundCall, np.ndarray]:
        sources = _sources(self._graph, self._inputs[0])
        bound, outputs = bind_to(self._graph, _feed(self._inputs[0], sources))
        return sources, bound, outputs["logits"] if "logits" in outputs else next(iter(outputs.values()))


def cascade_macs(manifest: Manifest, thresholds: Thresholds) -> Mapping[int, int]:
    """Return MACs of everything that ran by the exit of an input."""
    steps = plan_steps(manifest, thresholds)
    return {step.gate.exit_index: step.macs for step in steps if step.gate is not None}


def unique_names(names: Iterable[str]) -> list[str]:
    """Return the names, with a number after each that is taken: `net.onnx`, `net.onnx (2)`."""
    unique: list[str] = []
    for name in names:
        count, candidate = 1, name
        while candidate in unique:
            count += 1
            candidate = f"{name} ({count})"
        unique.append(candidate)
    return unique


def _sources(graph: Graph, given: ModelInput) -> dict[str, str]:
    """Return for each input of a graph which of the given arrays it reads; "" for the only one.

    It is that of its name; where the only input has another name, the one that has its shape.
    """
    if isinstance(given, np.ndarray):
        return {next(iter(graph.inputs)): ""}
    if graph.inputs.keys() <= given.keys():
        return {name: name for name in graph.inputs}
    name, spec = next(iter(graph.inputs.items()))
    fitting = (key for key, array in given.items() if spec.shape[1:] == array.shape[1:])
    return {name: next(fitting, next(iter(given)))}


def _feed(given: ModelInput, sources: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return the inputs of a graph by name, see `_sources`."""
    if isinstance(given, np.ndarray):
        return dict.fromkeys(sources, given)
    if isinstance(given, PictureViews):
        return dict(zip(sources, given.read(list(sources.values())), strict=True))
    return {name: given[source] for name, source in sources.items()}


def _check_input(graph: Graph, example: ModelInput, where: str) -> None:
    feed = _feed(example, _sources(graph, example))
    if len(graph.inputs) != len(feed):
        raise ArtefactError(f"{where}: has {counted(len(graph.inputs), 'input')}, but a benchmark provides one")
    for name, array in feed.items():
        spec = graph.inputs[name]
        fits = len(spec.shape) == array.ndim and all(
            isinstance(want, str) or want == size for want, size in zip(spec.shape, array.shape, strict=True)
        )
        if spec.dtype != array.dtype or not fits:
            shape = ", ".join(str(size) for size in spec.shape)
            raise ArtefactError(
                f"{where}: input {name!r} is {spec.dtype} ({shape}), the inputs are {array.dtype} {array.shape}"
            )
