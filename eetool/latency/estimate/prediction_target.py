"""Graphs to predict: those of a bundle, a checkpoint or one ONNX file, each as its fused kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.errors import ArtefactError, UsageError
from eetool.graphs.onnx_graph import SizedGraph, damage_as_error, read_exit_paths, read_graph
from eetool.graphs.tflite_graph import can_read_tflite, read_shared_tflite, read_tflite
from eetool.latency.estimate.cascade_cost import CascadeLayout, layout_of_manifest
from eetool.latency.estimate.recorded_model import RecordedModel, record_checkpoint, with_score
from eetool.latency.estimate.view_costs import views_warnings
from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.kernels.kernel import FP32, INT8, Kernel
from eetool.latency.kernels.operator_macs import is_linear
from eetool.latency.table.table import BACKENDS, LITERT, backend_of
from eetool_runtime import open_bundle
from eetool_runtime.bundle import Bundle
from eetool_runtime.manifest import OperatingPoint

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint

UNSPLIT = "unsplit"
GRAPH = "graph"
EXIT_PATH = "leaving at"  # of a file with nested exits: everything until one exit
ONNX_FP32 = "onnx/fp32"
_OTHER_FORMATS = ("FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")

# Exports a checkpoint, by its name, to a bundle that exists as long as the block.
Export = Callable[["Checkpoint", str], AbstractContextManager[Bundle]]
Model = Bundle | RecordedModel | Path


@dataclass(frozen=True)
class PredictionTarget:
    """Kernels of every graph by name, with its kind.

    Attributes:
        layout: places of the graphs in the cascade; null where they are no cascade of components.
        operating_points: operating points of the cascade that carry expected figures.
        batch: examples of one call, by which MACs and costs are counted.
        unsplit: kernels of the network without early exits as one graph; empty where there is no cascade.
        io_mb: megabytes of the inputs and outputs of graphs that a user calls as they are; absent for components.
        input_shape: sizes of the only input of one example; null where there are several, or they are not known.
    """

    name: str
    variant: str
    graphs: dict[str, list[Kernel]]
    kinds: dict[str, str]
    layout: CascadeLayout | None = None
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    batch: int = 1
    unsplit: tuple[Kernel, ...] = ()
    input_shape: tuple[int | str, ...] | None = None
    io_mb: Mapping[str, float] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """Backend that runs the variant."""
        return backend_of(self.variant)

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return self.variant.split("/")[1]


@contextmanager
def open_target(path: Path, export: Export, named: Sequence[str] = (), score: str | None = None) -> Iterator[Model]:
    """Open a bundle, a checkpoint or an ONNX file for as long as the block.

    A checkpoint is recorded, which takes milliseconds. It is exported where the recorder does not support an operator.

    Args:
        path: a bundle, a `.pt` or a `.onnx` file.
        export: `eetool.export.temporary_bundle.temporary_bundle`, which this package must not import.
        named: factories that may be called, see `eetool.model.checkpoint.load_checkpoint`.
        score: gate score of a checkpoint, in place of that of its policy.

    Raises:
        ArtefactError: it is none of these.
        UsageError: a checkpoint needs a factory that is not named.
    """
    if path.is_dir():
        yield open_bundle(path)
    elif path.suffix == ".onnx":
        yield path
    elif path.suffix == ".pt":
        from eetool.model.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(path, named)
        with open_checkpoint(with_score(checkpoint, score) if score else checkpoint, path.stem, export) as model:
            yield model
    else:
        problem = "is no bundle, checkpoint (.pt) or ONNX file (.onnx)" if path.exists() else "does not exist"
        raise ArtefactError(f"{path}: {problem}", "Bundles, checkpoints and ONNX files can be predicted.")


@contextmanager
def open_checkpoint(checkpoint: Checkpoint, name: str, export: Export) -> Iterator[Model]:
    """Record `checkpoint`, or export it where the recorder does not support an operator."""
    from eetool.model.graph_recorder import UnknownOperatorError

    try:
        model = record_checkpoint(checkpoint, name)
    except UnknownOperatorError:
        with export(checkpoint, name) as bundle:
            yield bundle
    else:
        yield model


def predictable_variants(model: Model) -> tuple[str, ...]:
    """Return the variants that can be predicted: those of a bundle, or the only one of a checkpoint or an ONNX file."""
    if isinstance(model, Bundle):
        variants = tuple(model.manifest.variants)
        return tuple(v for v in variants if v.split("/")[0] in BACKENDS) or (backend_of(variants[0]),)
    return (ONNX_FP32,) if isinstance(model, RecordedModel) else (_variant_of_file(model),)


def target_of_variant(
    model: Model, variant: str, channel_block: int, fuses_sums: bool | None = None
) -> PredictionTarget:
    """Return the kernels of one variant.

    Args:
        model: as `open_target` gives it.
        variant: such as `onnx/fp32`.
        channel_block: see `kernels_from_graph`.
        fuses_sums: whether the runtime fuses sums into convolutions; by default whether the variant's backend does.

    Raises:
        UsageError: the bundle or checkpoint has no such variant.
        ArtefactError: a graph cannot be read; or the variant is TFLite, and the bundle holds no ONNX of it.
    """
    if isinstance(model, Bundle) and variant in model.manifest.variants:
        backend_of(variant)  # refuses those of microcontrollers
    if fuses_sums is None:
        fuses_sums = BACKENDS.get(variant.split("/")[0]) != LITERT
    detection = _Detection(channel_block, fuses_sums)
    if isinstance(model, RecordedModel):
        return _of_recording(model, variant, detection)
    return _of_bundle(model, variant, detection) if isinstance(model, Bundle) else _of_file(model, variant, detection)


@dataclass(frozen=True)
class _Detection:
    """Detection of the kernels into which a runtime fuses operators."""

    channel_block: int
    fuses_sums: bool

    def of_graph(self, graph: SizedGraph) -> list[Kernel]:
        return kernels_from_graph(graph, self.channel_block, self.fuses_sums)

    def of_file(self, path: Path) -> list[Kernel]:
        return kernels_from_tflite(read_tflite(path)) if path.suffix == ".tflite" else self.of_graph(read_graph(path))

    def of_components(self, bundle: Bundle, variant: str) -> dict[str, list[Kernel]]:
        """Return the kernels of every component."""
        settings = bundle.variant(variant)
        if settings.shared_file is None:
            return {name: self.of_file(bundle.file(graph.path)) for name, graph in settings.components.items()}
        graphs = read_shared_tflite(bundle.file(settings.shared_file))
        missing = settings.components.keys() - graphs.keys()
        if missing:
            raise ArtefactError(
                f"{settings.shared_file}: has no signature {min(missing)!r}", "Export the bundle again."
            )
        return {name: kernels_from_tflite(graphs[name]) for name in settings.components}


def _of_recording(model: RecordedModel, variant: str, detection: _Detection) -> PredictionTarget:
    if variant != ONNX_FP32:
        raise UsageError(f"{model.name} has no variant {variant!r}", f"It has: {ONNX_FP32}.")
    graphs = {name: detection.of_graph(graph) for name, graph in model.graphs.items()}
    points = {name: point for name, point in model.operating_points.items() if point.expected}
    first = next(iter(model.graphs.values()))
    return PredictionTarget(
        name=model.name,
        variant=variant,
        graphs=graphs,
        kinds=model.kinds,
        layout=model.layout,
        operating_points=points,
        warnings=model.warnings,
        unsplit=_trunk(model.layout, graphs),
        input_shape=_shape_of_only_input(first),
    )


def _trunk(layout: CascadeLayout, graphs: Mapping[str, Sequence[Kernel]]) -> tuple[Kernel, ...]:
    """Return the kernels of all components that a full pass without early exits runs."""
    return tuple(kernel for name in layout.full_pass() for kernel in graphs[name])


def _shape_of_only_input(graph: SizedGraph) -> tuple[int | str, ...] | None:
    shapes = [graph.shapes.get(name) for name in graph.inputs]
    return shapes[0][1:] if len(shapes) == 1 and shapes[0] else None


def _of_bundle(bundle: Bundle, variant: str, detection: _Detection) -> PredictionTarget:
    points = bundle.variant(variant).operating_points
    m = bundle.manifest
    read, warnings = _readable(bundle, variant)
    references, kernels = m.variants[read].references, detection.of_components(bundle, read)
    graphs = {c.name: kernels[c.name] for c in m.components}
    layout = layout_of_manifest(m)
    whole = detection.of_file(bundle.file(references[UNSPLIT])) if UNSPLIT in references else _trunk(layout, graphs)
    return PredictionTarget(
        name=m.name,
        variant=variant,
        graphs=graphs,
        kinds={c.name: c.kind for c in m.components},
        layout=layout,
        operating_points={name: point for name, point in points.items() if point.expected},
        warnings=(*warnings, *views_warnings(m.inputs)),
        unsplit=tuple(whole),
        input_shape=tuple(m.inputs[0].shape[1:]) if len(m.inputs) == 1 else None,
    )


def _of_file(path: Path, variant: str, detection: _Detection) -> PredictionTarget:
    """Return one graph, or for a file with nested exits one graph per exit: all that runs until there."""
    if path.suffix == ".tflite":
        return PredictionTarget(path.name, variant, {path.name: detection.of_file(path)}, {path.name: GRAPH})
    read = _graphs_of_file(path)
    with damage_as_error(str(path)):
        graphs = {name: detection.of_graph(graph) for name, graph in read.items()}
    batches = next(iter(read.values())).batches
    kind = GRAPH if path.name in graphs else EXIT_PATH
    return PredictionTarget(
        name=path.name,
        variant=variant,
        graphs=graphs,
        kinds=dict.fromkeys(graphs, kind),
        warnings=_batch_warnings(batches),
        batch=next(iter(batches.values()), 1),
        input_shape=_shape_of_only_input(next(iter(read.values()))),
        io_mb={name: _io_mb(graph) for name, graph in read.items()},
    )


def _io_mb(graph: SizedGraph) -> float:
    """Return the megabytes of the inputs and outputs of a graph, all as float32."""
    return sum(4 * graph.size(name) for name in (*graph.inputs, *graph.outputs)) / 1e6


def _graphs_of_file(path: Path) -> dict[str, SizedGraph]:
    nested = {f"{EXIT_PATH} {index}": graph for index, graph in enumerate(read_exit_paths(path))}
    return nested or {path.name: read_graph(path)}


def _batch_warnings(batches: Mapping[str, int]) -> tuple[str, ...]:
    sizes = set(batches.values())
    if len(sizes) > 1:
        shown = ", ".join(f"{name} {size}" for name, size in batches.items())
        return (f"the first sizes of the inputs differ ({shown}); everything is counted at these sizes",)
    if sizes <= {1}:
        return ()
    return (f"the table is of one example per call, so images cost {sizes.pop()} times as much, with a wide interval",)


def _readable(bundle: Bundle, variant: str) -> tuple[str, tuple[str, ...]]:
    """Return the variant whose files are read, with a warning where it is another one.

    TFLite files need a library of the extra `tflite`. Without it the operators of ONNX files replace theirs.
    """
    if variant.startswith("onnx/") or can_read_tflite():
        return variant, ()
    variants = bundle.manifest.variants
    same = f"onnx/{variant.split('/')[1]}"
    if same in variants:
        return same, (f"{variant} is predicted from the operators of {same}: pip install eetool[tflite]",)
    if ONNX_FP32 not in variants:
        raise ArtefactError(
            f"{bundle.path}: its {variant} graphs cannot be read, and it holds no ONNX of them",
            "pip install eetool[tflite], or export with --format onnx --format tflite.",
        )
    return ONNX_FP32, (f"{variant} is predicted from the operators of {ONNX_FP32}: pip install eetool[tflite]",)


def _variant_of_file(path: Path) -> str:
    """Return the variant that the operators of an ONNX file belong to.

    Raises:
        ArtefactError: it computes in a number format that no table is measured in, such as float16.
    """
    graphs = _graphs_of_file(path).values()
    with damage_as_error(str(path)):
        found = next((other for graph in graphs if (other := _other_format(graph))), None)
    if found is not None:
        raise ArtefactError(
            f"{path}: computes in {found[0]} (operator {found[1]!r}), and tables are of float32 and int8 alone",
            "Predict the float32 file that it was made from.",
        )
    quantised = any(node.op == "QuantizeLinear" for graph in graphs for node in graph.nodes)
    return f"onnx/{INT8 if quantised else FP32}"


def _other_format(graph: SizedGraph) -> tuple[str, str] | None:
    """Return the number format and the name of the first product in another float format; None if there is none.

    In a graph without products, the inputs of all operators count.
    """
    nodes = [node for node in graph.nodes if is_linear(node)] or graph.nodes
    kinds = [(graph.dtypes.get(name, ""), node.name) for node in nodes for name in node.inputs]
    return next(((kind.lower(), name) for kind, name in kinds if kind in _OTHER_FORMATS), None)
