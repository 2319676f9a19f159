"""Sets of ways whose graphs are loaded together: one variant of a bundle, or one network of `--against`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from eetool.bench.example_forms import ExampleForms, ModelInput
from eetool.bench.predictions import ExitPredictions, WayPredictions, predict_exits, predict_static
from eetool.bench.ways import AGAINST, EARLY_EXIT, UNSPLIT, CascadeWay, StaticWay, WayLabel, cascade_macs
from eetool.errors import ArtefactError
from eetool.graphs.onnx_side_files import check_side_file_sizes
from eetool_runtime.backends import PROCESS, Threads, backend_for, open_onnx_with_side_files
from eetool_runtime.bundle import Bundle, open_bundle
from eetool_runtime.errors import BackendError
from eetool_runtime.execution_plan import unsplit_macs
from eetool_runtime.loading import load_to_judge

Ways = Sequence[CascadeWay | StaticWay]
OwnInputs = Callable[[Sequence[int | str], str], Sequence[ModelInput] | None]
NO_REFERENCE_HINT = "It was exported with --no-reference; export it again without."


@dataclass(frozen=True)
class WayNotRun:
    """A way that could not run, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class SetPredictions:
    """Predictions of the ways of a set by name, those of every exit, the ways that failed, and the granted threads."""

    ways: dict[str, WayPredictions]
    exits: ExitPredictions | None = None
    failed: tuple[WayNotRun, ...] = ()
    threads: Threads = Threads()  # noqa: RUF009 - frozen, so safe to share


class WaySet(Protocol):
    """Ways whose graphs are loaded together.

    Attributes:
        path: of the bundle or the file.
        labels: of its ways.
        graphs_bytes: size of the graph files.
        format: of the graphs, `onnx` or `tflite`.
        required: whether a failure is an error of the benchmark.
        keep: whether graphs stay loaded after their first use.
        skipped: ways that it leaves out, with the reason.
    """

    path: Path
    labels: Sequence[WayLabel]
    graphs_bytes: int
    format: str
    required: bool
    keep: bool
    skipped: Sequence[WayNotRun]

    @contextmanager
    def opened(self) -> Iterator[Ways]:
        """Yield the ways with loaded graphs, in the order of `labels`."""

    def predict(self) -> SetPredictions:
        """Return the predictions of every way on all inputs."""


class OpenedWays(ABC):
    """Loading of graphs that stay loaded where `keep` is set."""

    keep = False
    skipped: Sequence[WayNotRun] = ()

    def __init__(self) -> None:
        self._kept: Ways = ()

    @contextmanager
    def opened(self) -> Iterator[Ways]:
        """Yield the ways with loaded graphs."""
        ways = self._kept or self._open()
        if self.keep:
            self._kept = ways
        yield ways

    @abstractmethod
    def _open(self) -> Ways:
        """Return the ways with loaded graphs."""


class VariantWays(OpenedWays):
    """One variant of a bundle: the network without early exits, and every operating point.

    The former does not run where `same_as` names a variant with the very same file, because it stayed float at export.
    """

    required = False

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        inputs: Sequence[ModelInput],
        threads: int,
        prefix: str = "",
        same_as: str | None = None,
    ) -> None:
        super().__init__()
        self.path = bundle.path
        self._bundle, self._variant, self._inputs, self._threads = bundle, variant, inputs, threads
        settings, manifest = bundle.variant(variant), bundle.manifest
        self.format = variant.split("/")[0]
        self._reference = None if same_as else settings.references.get(UNSPLIT)
        self.skipped = [_stayed_float(f"{prefix}{UNSPLIT}", same_as)] if same_as else []
        unsplit = WayLabel(f"{prefix}{UNSPLIT}", UNSPLIT, variant, None, {0: unsplit_macs(manifest)})
        points = [
            WayLabel(f"{prefix}{name}", EARLY_EXIT, variant, name, cascade_macs(manifest, point.thresholds))
            for name, point in settings.operating_points.items()
        ]
        self.labels: Sequence[WayLabel] = [*([unsplit] if self._reference else []), *points]
        files = [graph.path for graph in settings.components.values()] + [self._reference or ""]
        self.graphs_bytes = bundle.size_bytes(path for path in files if path)

    def _open(self) -> Ways:
        model = load_to_judge(self._bundle, threads=self._threads, pool=PROCESS, variant=self._variant)
        cascades = [CascadeWay(label, model, self._inputs) for label in self.labels if label.operating_point]
        if self._reference is None:
            return cascades
        name = self.labels[0].name
        return [_open_reference(self._bundle, self._variant, name, self._inputs, model.threads), *cascades]

    def predict(self) -> SetPredictions:
        """Return the predictions of every way; those that give NaN have failed."""
        settings, n = self._bundle.variant(self._variant), len(self._inputs)
        predictions: dict[str, WayPredictions] = {}
        failed = []
        with self.opened() as ways:
            model = next(way.model for way in ways if isinstance(way, CascadeWay))
            exits = predict_exits(model, self._inputs)
            for way, label in zip(ways, self.labels, strict=True):
                try:
                    if isinstance(way, StaticWay):
                        predictions[way.name] = predict_static(way, n, settings.temperatures[-1])
                    else:
                        thresholds = settings.operating_points[str(label.operating_point)].thresholds
                        predictions[way.name] = exits.at(thresholds, way.name)
                except ArtefactError as error:
                    failed.append(WayNotRun(way.name, error.message))
        return SetPredictions(predictions, exits, tuple(failed), model.threads)


class RivalFile(OpenedWays):
    """A network in an ONNX file, whose weights may lie in files beside it.

    `own_inputs` gives the inputs of a graph by the shape that it takes, where they are not `inputs`.
    """

    required = True
    format = "onnx"

    def __init__(
        self,
        path: Path,
        inputs: Sequence[ModelInput],
        threads: int,
        classes: int,
        own_inputs: OwnInputs = lambda shape, where: None,
    ) -> None:
        super().__init__()
        if not path.is_file():
            raise ArtefactError(f"{path}: does not exist", "--against takes an .onnx file or a bundle.")
        self.path, self._inputs, self._threads, self._classes = path, inputs, Threads(threads, PROCESS), classes
        self._own_inputs = own_inputs
        self.labels: Sequence[WayLabel] = [WayLabel(path.name, AGAINST)]
        self.graphs_bytes = path.stat().st_size

    def _open(self) -> Ways:
        path = self.path
        backend_for(self.format)
        try:
            graph = open_onnx_with_side_files(path, self._threads)
        except BackendError as error:
            check_side_file_sizes(path)  # the backend's message of a file that is cut off is of its own source code
            hint = error.hint or f"{path.name} is not an ONNX file, or needs another onnxruntime."
            raise ArtefactError(error.message, hint) from None
        shape = next(iter(graph.inputs.values())).shape
        inputs = self._own_inputs(shape, str(path)) or self._inputs
        way = StaticWay(self.labels[0].name, graph, inputs, file=path)
        way.check(self._classes, str(path))
        return [way]

    def predict(self) -> SetPredictions:
        """Return the predictions of the network; raise ArtefactError where they are not finite."""
        with self.opened() as (way,):
            assert isinstance(way, StaticWay)
            return SetPredictions({way.name: predict_static(way, len(self._inputs), 1.0)})


class RivalVariant(OpenedWays):
    """The network without early exits of one variant of another bundle."""

    required = False

    def __init__(self, bundle: Bundle, variant: str, inputs: Sequence[ModelInput], threads: int, name: str) -> None:
        super().__init__()
        self.path = bundle.path
        path = bundle.variant(variant).references.get(UNSPLIT)
        if path is None:
            raise ArtefactError(f"{bundle.path}: has no reference/{UNSPLIT} to compare with", NO_REFERENCE_HINT)
        self._bundle, self._variant, self._inputs = bundle, variant, inputs
        self._threads, self.format = Threads(threads, PROCESS), variant.split("/")[0]
        self.labels: Sequence[WayLabel] = [WayLabel(name, AGAINST, variant, None, {0: unsplit_macs(bundle.manifest)})]
        self.graphs_bytes = bundle.manifest.files[path].size_bytes

    def _open(self) -> Ways:
        return [_open_reference(self._bundle, self._variant, self.labels[0].name, self._inputs, self._threads)]

    def predict(self) -> SetPredictions:
        """Return the predictions of the network; raise ArtefactError where they are not finite."""
        with self.opened() as (way,):
            assert isinstance(way, StaticWay)
            temperature = self._bundle.variant(self._variant).temperatures[-1]
            return SetPredictions({way.name: predict_static(way, len(self._inputs), temperature)})


def rival_sets(
    path: Path,
    bundle: Bundle,
    variants: Sequence[str],
    forms: ExampleForms,
    inputs: Sequence[ModelInput],
    threads: int,
) -> list[WaySet]:
    """Return a network to compare with: an ONNX file, or another bundle in each of its variants among `variants`.

    Args:
        path: file or bundle.
        bundle: that of the benchmark.
        variants: those of the benchmark; another bundle that has none of them takes part with its first.
        forms: examples of the source, which another bundle preprocesses in its own way, and at its own size.
        inputs: N inputs of batch 1 as `bundle` takes them; an ONNX file takes the same, or photographs at its own size.
        threads: number of threads.

    Raises:
        ArtefactError: the path is missing or neither an ONNX file nor a bundle, or the network has other inputs or
            classes.
    """
    if not path.is_dir():
        own_inputs = partial(forms.of_graph, bundle.manifest.inputs)
        file = RivalFile(path, inputs, threads, len(bundle.manifest.labels), own_inputs)
        with file.opened():  # refuses a file that does not fit before any long work
            return [file]
    other = open_bundle(path)
    if other.manifest.labels != bundle.manifest.labels:
        raise ArtefactError(f"{other.path}: has other classes than {bundle.path.name}")
    if other.manifest.inputs[0].text != bundle.manifest.inputs[0].text:
        raise ArtefactError(
            f"{other.path}: has another vocabulary than {bundle.path.name}, so its token ids differ",
            "Compare models that were trained on the same texts by the same version.",
        )
    own = forms.of_bundle(other)
    common = [variant for variant in other.manifest.variants if variant in variants]
    chosen = common or [next(iter(other.manifest.variants))]
    plain = len(variants) == 1 and chosen == list(variants)
    sets: dict[str | None, RivalVariant] = {}
    for variant in chosen:
        graph, name = other.variant(variant).references.get(UNSPLIT), other.path.name + ("" if plain else f" {variant}")
        if graph in sets:
            same = sets[graph]
            same.skipped = [*same.skipped, _stayed_float(name, str(same.labels[0].variant))]
        else:
            sets[graph] = RivalVariant(other, variant, own, threads, name)
    return list(sets.values())


def _stayed_float(name: str, same_as: str) -> WayNotRun:
    return WayNotRun(name, f"its graph stayed fp32 at export, so it is that of {same_as}")


def _open_reference(
    bundle: Bundle, variant: str, name: str, inputs: Sequence[ModelInput], threads: Threads
) -> StaticWay:
    path = bundle.variant(variant).references[UNSPLIT]
    graph = backend_for(variant.split("/")[0]).open(bundle.file(path), threads)
    way = StaticWay(name, graph, inputs)
    way.check(len(bundle.manifest.labels), f"{bundle.path}: {path}")
    return way
