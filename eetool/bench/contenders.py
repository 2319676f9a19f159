"""Who takes part in a bench: a bundle at its operating points, its unsplit backbone, and static nets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from eetool.bench.interleaved_timing import TimedModel
from eetool.data.model_inputs import model_inputs
from eetool.errors import ArtefactError
from eetool_measure.timing import bind_to
from eetool_runtime.backends import BoundCall, Graph, Threads, backend_for
from eetool_runtime.bundle import Bundle, open_bundle
from eetool_runtime.errors import BackendError, InputError
from eetool_runtime.execution_plan import plan_steps, unsplit_macs
from eetool_runtime.model import Model
from eetool_runtime.result import softmax

UNSPLIT = "unsplit"
_REFERENCE_HINT = "It was exported with --no-reference; export it again without."


@dataclass(frozen=True)
class ModelAnswer:
    """What a contender says of one image; `exit` is None for a static net."""

    probabilities: np.ndarray  # (classes,)
    exit: int | None


class Contender(TimedModel, Protocol):
    """A racer that can also say what it answered.

    `macs` maps each exit an input may leave at (None for a static net) to the MACs of all that ran for it; it is None
    where they are not known.
    """

    macs: Mapping[int | None, int] | None

    def explain(self, image: int) -> ModelAnswer:
        """Answer with all that there is to say; not timed."""


class CascadeContender:
    """A loaded bundle at one of its operating points. Contenders may share one model."""

    def __init__(self, model: Model, point: str, inputs: Sequence[np.ndarray]) -> None:
        self.name = point
        self._model = model
        self._inputs = inputs
        stages = plan_steps(model.bundle.manifest, model.operating_points[point].thresholds)
        self.macs: Mapping[int | None, int] | None = {
            stage.gate.exit_index: stage.macs for stage in stages if stage.gate is not None
        }

    def prepare(self) -> None:
        """Move the shared model to this operating point."""
        self._model.use(self.name)

    def answer(self, image: int) -> int:
        """The class, by early exit."""
        return self._model(self._inputs[image]).index

    def explain(self, image: int) -> ModelAnswer:
        """The same call with all that it says."""
        result = self._model(self._inputs[image])
        return ModelAnswer(result.probabilities, result.exit)


class StaticContender:
    """A plain graph with one input whose logits are the output called `logits`, else its first."""

    def __init__(
        self, name: str, graph: Graph, inputs: Sequence[np.ndarray], temperature: float = 1.0, macs: int | None = None
    ) -> None:
        self.name = name
        self.macs: Mapping[int | None, int] | None = None if macs is None else {None: macs}
        self._graph = graph
        self._inputs = inputs
        self._bound: tuple[str, BoundCall, np.ndarray] | None = None
        self._temperature = np.float32(temperature)

    def prepare(self) -> None:
        """Nothing to do."""

    def answer(self, image: int) -> int:
        """The class with the largest logit."""
        return int(self._logits(image).argmax())

    def explain(self, image: int) -> ModelAnswer:
        """The same call, with probabilities."""
        return ModelAnswer(softmax(self._logits(image)[0] / self._temperature), None)

    def check(self, classes: int, where: str) -> None:
        """Run the first image; raises ArtefactError unless one finite logit per class comes back."""
        try:
            logits = self._logits(0)
        except (BackendError, InputError) as error:
            raise ArtefactError(f"{where}: cannot run on the bundle's input: {error.message}") from None
        if logits.shape != (1, classes):
            raise ArtefactError(f"{where}: expected logits of shape (1, {classes}), found {logits.shape}")
        if logits.dtype.kind != "f" or not np.isfinite(logits).all():
            raise ArtefactError(f"{where}: its logits are not finite numbers")

    def _logits(self, image: int) -> np.ndarray:
        """(1, classes), in an array that the next call writes over."""
        # Called as the cascade calls its graphs, so that neither side wins by that.
        name, bound, logits = self._bound = self._bound or self._bind()
        bound.read(name, self._inputs[image])
        bound.call()
        return logits

    def _bind(self) -> tuple[str, BoundCall, np.ndarray]:
        name = next(iter(self._graph.inputs))
        bound, made = bind_to(self._graph, {name: self._inputs[0]})
        return name, bound, made["logits"] if "logits" in made else next(iter(made.values()))


def bench_inputs(bundle: Bundle, images: np.ndarray) -> list[np.ndarray]:
    """Examples (N, …) of a source to N inputs of `bundle` at batch 1, made now so that the clock does not see it.

    Raises:
        ArtefactError: the bundle does not take one example of this kind and shape.
    """
    specs = bundle.manifest.inputs
    if len(specs) != 1:
        raise ArtefactError(f"{bundle.path}: it has {len(specs)} inputs, where one is all that it would get")
    try:
        inputs = model_inputs(images, specs[0])
    except ArtefactError as error:
        raise ArtefactError(f"{bundle.path}: {error.message}", error.hint) from None
    return [inputs[i : i + 1] for i in range(len(inputs))]


def with_unique_names(contenders: Sequence[Contender]) -> list[Contender]:
    """The same contenders, those whose name is taken renamed: `net.onnx`, `net.onnx (2)`."""
    taken: set[str] = set()
    for contender in contenders:
        name, count = contender.name, 1
        while contender.name in taken:
            count += 1
            contender.name = f"{name} ({count})"
        taken.add(contender.name)
    return list(contenders)


def bundle_contenders(model: Model, inputs: Sequence[np.ndarray]) -> list[Contender]:
    """The unsplit backbone, then every operating point.

    Raises:
        ArtefactError: the bundle has no unsplit reference.
    """
    unsplit = _reference(model.bundle, model.variant, UNSPLIT, inputs, model.threads)
    points: list[Contender] = [CascadeContender(model, point, inputs) for point in model.operating_points]
    return [unsplit, *points]


def static_contender(path: Path, model: Model, images: np.ndarray, inputs: Sequence[np.ndarray]) -> Contender:
    """A net to hold against `model`: an ONNX file, fed as the bundle is, or another bundle's unsplit backbone.

    Args:
        images: uint8 (N, C, H, W), which another bundle preprocesses in its own way.
        inputs: N inputs of batch 1 as `model` takes them.

    Raises:
        ArtefactError: it is missing, no ONNX file or bundle, takes other inputs or knows other classes.
    """
    if path.is_dir():
        return _other_bundle(open_bundle(path), model, images)
    if not path.is_file():
        raise ArtefactError(f"{path}: does not exist", "--against takes an .onnx file or a bundle.")
    backend = backend_for("onnx")
    try:
        graph = backend.open(path, model.threads)
    except BackendError as error:
        raise ArtefactError(error.message, f"{path.name} is no ONNX file, or needs another onnxruntime.") from None
    _check_input(graph, inputs[0], str(path))
    net = StaticContender(path.name, graph, inputs)
    net.check(len(model.labels), str(path))
    return net


def _other_bundle(bundle: Bundle, model: Model, images: np.ndarray) -> Contender:
    if bundle.manifest.labels != model.labels:
        raise ArtefactError(f"{bundle.path}: knows other classes than {model.bundle.path.name}")
    variants = bundle.manifest.variants
    variant = model.variant if model.variant in variants else next(iter(variants))
    inputs = bench_inputs(bundle, images)
    return _reference(bundle, variant, bundle.path.name, inputs, model.threads)


def _reference(bundle: Bundle, variant: str, name: str, inputs: Sequence[np.ndarray], threads: Threads) -> Contender:
    fitted = bundle.variant(variant)
    if UNSPLIT not in fitted.references:
        raise ArtefactError(f"{bundle.path}: has no reference/{UNSPLIT} to compare with", _REFERENCE_HINT)
    path = fitted.references[UNSPLIT]
    graph = backend_for(variant.split("/")[0]).open(bundle.file(path), threads)
    where = f"{bundle.path}: {path}"
    _check_input(graph, inputs[0], where)
    net = StaticContender(name, graph, inputs, fitted.temperatures[-1], unsplit_macs(bundle.manifest))
    net.check(len(bundle.manifest.labels), where)
    return net


def _check_input(graph: Graph, example: np.ndarray, where: str) -> None:
    if len(graph.inputs) != 1:
        raise ArtefactError(f"{where}: has {len(graph.inputs)} inputs, where one image is all it would get")
    name, spec = next(iter(graph.inputs.items()))
    fits = len(spec.shape) == example.ndim and all(
        isinstance(want, str) or want == size for want, size in zip(spec.shape, example.shape, strict=True)
    )
    if spec.dtype != example.dtype or not fits:
        form = ", ".join(str(size) for size in spec.shape)
        raise ArtefactError(
            f"{where}: input {name!r} is {spec.dtype} ({form}), the images are {example.dtype} {example.shape}"
        )
