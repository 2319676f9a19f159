"""Models of a benchmark: a bundle at its operating points, its unsplit backbone, and static networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from eetool.bench.interleaved_timing import TimedModel
from eetool.data.model_inputs import model_inputs
from eetool.errors import ArtefactError
from eetool.graphs.onnx_side_files import check_side_file_sizes, invalid_weights
from eetool_measure.timing import bind_to
from eetool_runtime.backends import BoundCall, Graph, Threads, backend_for, open_onnx_with_side_files
from eetool_runtime.bundle import Bundle, open_bundle
from eetool_runtime.errors import BackendError, InputError
from eetool_runtime.execution_plan import plan_steps, unsplit_macs
from eetool_runtime.model import Model
from eetool_runtime.result import softmax

UNSPLIT = "unsplit"
_REFERENCE_HINT = "It was exported with --no-reference; export it again without."


@dataclass(frozen=True)
class ContenderPrediction:
    """Prediction of a contender on one input; `exit` is None for a static network."""

    probabilities: np.ndarray  # (classes,)
    exit: int | None


class Contender(TimedModel, Protocol):
    """A timed model that also returns complete predictions.

    Attributes:
        macs: MACs of everything that ran by the exit of an input; the key is None for a static network. The mapping is
            None where they are not known.
    """

    macs: Mapping[int | None, int] | None

    def predict(self, index: int) -> ContenderPrediction:
        """Return the complete prediction on an input; not timed."""


class CascadeContender:
    """A loaded bundle at one of its operating points. Contenders may share one model."""

    def __init__(self, model: Model, point: str, inputs: Sequence[np.ndarray]) -> None:
        self.name = point
        self._model = model
        self._inputs = inputs
        steps = plan_steps(model.bundle.manifest, model.operating_points[point].thresholds)
        self.macs: Mapping[int | None, int] | None = {
            step.gate.exit_index: step.macs for step in steps if step.gate is not None
        }

    def prepare(self) -> None:
        """Set the shared model to this operating point."""
        self._model.use(self.name)

    def classify(self, index: int) -> int:
        """Return the predicted class, by early exit."""
        return self._model(self._inputs[index]).index

    def predict(self, index: int) -> ContenderPrediction:
        """Return the complete prediction of the same call."""
        result = self._model(self._inputs[index])
        if not np.isfinite(result.probabilities).all():
            raise ArtefactError(
                f"{self.name}: exit {result.exit} gives NaN for input {index}", "Export the model anew."
            )
        return ContenderPrediction(result.probabilities, result.exit)


class StaticContender:
    """A graph with one input; its logits are the output `logits`, else its first output.

    `file` is that of a network outside of a bundle, in which the cause of NaN is looked for.
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        inputs: Sequence[np.ndarray],
        temperature: float = 1.0,
        macs: int | None = None,
        file: Path | None = None,
    ) -> None:
        self.name, self._file = name, file
        self.macs: Mapping[int | None, int] | None = None if macs is None else {None: macs}
        self._graph = graph
        self._inputs = inputs
        self._bound: tuple[str, BoundCall, np.ndarray] | None = None
        self._temperature = np.float32(temperature)

    def prepare(self) -> None:
        """Do nothing: the graph has one state."""

    def classify(self, index: int) -> int:
        """Return the class with the largest logit."""
        return int(self._logits(index).argmax())

    def predict(self, index: int) -> ContenderPrediction:
        """Return the complete prediction of the same call; raise ArtefactError where a logit is not finite."""
        logits = self._logits(index)[0]
        if not np.isfinite(logits).all():
            raise ArtefactError(f"{self.name}: gives NaN or infinite logits for input {index}: {self._cause()}")
        return ContenderPrediction(softmax(logits / self._temperature), None)

    def _cause(self) -> str:
        lines = [] if self._file is None else invalid_weights(self._file)
        dtype = next(iter(self._graph.inputs.values())).dtype
        return "; ".join(lines) or f"its weights are finite, so numbers overflow on the way (inputs are {dtype})"

    def check(self, classes: int, where: str) -> None:
        """Run the first input; raise ArtefactError unless the result is one logit per class."""
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
        name, bound, logits = self._bound = self._bound or self._bind()
        bound.read(name, self._inputs[index])
        bound.call()
        return logits

    def _bind(self) -> tuple[str, BoundCall, np.ndarray]:
        name = next(iter(self._graph.inputs))
        bound, outputs = bind_to(self._graph, {name: self._inputs[0]})
        return name, bound, outputs["logits"] if "logits" in outputs else next(iter(outputs.values()))


def bench_inputs(bundle: Bundle, examples: np.ndarray) -> list[np.ndarray]:
    """Return examples (N, …) of a source as N inputs of `bundle` at batch 1, so that preprocessing is not timed.

    Raises:
        ArtefactError: the bundle does not take one example of this kind and shape.
    """
    specs = bundle.manifest.inputs
    if len(specs) != 1:
        raise ArtefactError(f"{bundle.path}: it has {len(specs)} inputs, but a benchmark provides one")
    try:
        inputs = model_inputs(examples, specs[0])
    except ArtefactError as error:
        raise ArtefactError(f"{bundle.path}: {error.message}", error.hint) from None
    return [inputs[i : i + 1] for i in range(len(inputs))]


def with_unique_names(contenders: Sequence[Contender]) -> list[Contender]:
    """Rename contenders whose name is taken, such as `net.onnx` to `net.onnx (2)`, and return all."""
    taken: set[str] = set()
    for contender in contenders:
        name, count = contender.name, 1
        while contender.name in taken:
            count += 1
            contender.name = f"{name} ({count})"
        taken.add(contender.name)
    return list(contenders)


def bundle_contenders(model: Model, inputs: Sequence[np.ndarray]) -> list[Contender]:
    """Return the unsplit backbone, then every operating point.

    Raises:
        ArtefactError: the bundle has no unsplit reference.
    """
    unsplit = _reference(model.bundle, model.variant, UNSPLIT, inputs, model.threads)
    points: list[Contender] = [CascadeContender(model, point, inputs) for point in model.operating_points]
    return [unsplit, *points]


def static_contender(path: Path, model: Model, examples: np.ndarray, inputs: Sequence[np.ndarray]) -> Contender:
    """Return a network to compare with `model`: an ONNX file, or the unsplit backbone of another bundle.

    Args:
        path: file or bundle.
        model: loaded bundle of the benchmark.
        examples: (N, …) of the source, which another bundle preprocesses in its own way.
        inputs: N inputs of batch 1 as `model` takes them; an ONNX file takes the same.

    Raises:
        ArtefactError: the path is missing or neither an ONNX file nor a bundle, or the network has other inputs or
            classes.
    """
    if path.is_dir():
        return _other_bundle(open_bundle(path), model, examples)
    if not path.is_file():
        raise ArtefactError(f"{path}: does not exist", "--against takes an .onnx file or a bundle.")
    try:
        graph = open_onnx_with_side_files(path, model.threads)
    except BackendError as error:
        check_side_file_sizes(path)  # the backend's message of a file that is cut off is of its own source code
        hint = error.hint or f"{path.name} is not an ONNX file, or needs another onnxruntime."
        raise ArtefactError(error.message, hint) from None
    _check_input(graph, inputs[0], str(path))
    network = StaticContender(path.name, graph, inputs, file=path)
    network.check(len(model.labels), str(path))
    return network


def _other_bundle(bundle: Bundle, model: Model, examples: np.ndarray) -> Contender:
    if bundle.manifest.labels != model.labels:
        raise ArtefactError(f"{bundle.path}: has other classes than {model.bundle.path.name}")
    if bundle.manifest.inputs[0].text != model.bundle.manifest.inputs[0].text:
        raise ArtefactError(
            f"{bundle.path}: has another vocabulary than {model.bundle.path.name}, so its token ids differ",
            "Compare models that were trained on the same texts by the same version.",
        )
    variants = bundle.manifest.variants
    variant = model.variant if model.variant in variants else next(iter(variants))
    inputs = bench_inputs(bundle, examples)
    return _reference(bundle, variant, bundle.path.name, inputs, model.threads)


def _reference(bundle: Bundle, variant: str, name: str, inputs: Sequence[np.ndarray], threads: Threads) -> Contender:
    settings = bundle.variant(variant)
    if UNSPLIT not in settings.references:
        raise ArtefactError(f"{bundle.path}: has no reference/{UNSPLIT} to compare with", _REFERENCE_HINT)
    path = settings.references[UNSPLIT]
    graph = backend_for(variant.split("/")[0]).open(bundle.file(path), threads)
    where = f"{bundle.path}: {path}"
    _check_input(graph, inputs[0], where)
    network = StaticContender(name, graph, inputs, settings.temperatures[-1], unsplit_macs(bundle.manifest))
    network.check(len(bundle.manifest.labels), where)
    return network


def _check_input(graph: Graph, example: np.ndarray, where: str) -> None:
    if len(graph.inputs) != 1:
        raise ArtefactError(f"{where}: has {len(graph.inputs)} inputs, but a benchmark provides one")
    name, spec = next(iter(graph.inputs.items()))
    fits = len(spec.shape) == example.ndim and all(
        isinstance(want, str) or want == size for want, size in zip(spec.shape, example.shape, strict=True)
    )
    if spec.dtype != example.dtype or not fits:
        shape = ", ".join(str(size) for size in spec.shape)
        raise ArtefactError(
            f"{where}: input {name!r} is {spec.dtype} ({shape}), the inputs are {example.dtype} {example.shape}"
        )
