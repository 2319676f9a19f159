"""What is to be predicted: the graphs of a bundle, a checkpoint or one ONNX file, each as its fused kernels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eetool.errors import ArtefactError
from eetool.graphs.onnx_graph import read_exit_paths, read_graph
from eetool.graphs.tflite_graph import can_read_tflite, read_tflite
from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.kernels.kernel import FP32, INT8, Kernel
from eetool.latency.table.table import BACKENDS, LITERT
from eetool.workspace import scratch
from eetool_runtime import open_bundle
from eetool_runtime.bundle import Bundle
from eetool_runtime.manifest import Manifest

GRAPH = "graph"
EXIT_PATH = "leaving at"  # of a file that leaves early by itself: everything until an exit
ONNX_FP32 = "onnx/fp32"


@dataclass(frozen=True)
class PredictionTarget:
    """Graphs by name with the kernels of each; `manifest` wires those of a bundle."""

    name: str
    variant: str
    graphs: dict[str, list[Kernel]]
    kinds: dict[str, str]
    manifest: Manifest | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def backend(self) -> str:
        """What would run it."""
        return BACKENDS[self.variant.split("/")[0]]

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return self.variant.split("/")[1]


@contextmanager
def open_target(path: Path, named: Sequence[str] = ()) -> Iterator[Bundle | Path]:
    """A bundle, an ONNX file, or the bundle that a checkpoint makes, which lasts as long as the block.

    Args:
        named: see `eetool.model.checkpoint.load_checkpoint`.

    Raises:
        ArtefactError: it is none of these.
        UsageError: a checkpoint needs a factory that is not named.
    """
    if path.is_dir():
        yield open_bundle(path)
    elif path.suffix == ".onnx":
        yield path
    elif path.suffix == ".pt":
        from eetool.export.bundle_export import ExportOptions, export_bundle
        from eetool.model.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(path, named)
        with scratch() as folder:
            made = folder / f"{path.stem}.eebundle"
            export_bundle(checkpoint, made, ExportOptions(references=False))
            yield open_bundle(made)
    else:
        what = "is no bundle, checkpoint (.pt) or ONNX file (.onnx)" if path.exists() else "does not exist"
        raise ArtefactError(f"{path}: {what}", "profile predicts bundles, checkpoints and ONNX files.")


def predictable_variants(found: Bundle | Path) -> tuple[str, ...]:
    """Variants that can be predicted: those of a bundle, or that of an ONNX file."""
    if isinstance(found, Bundle):
        return tuple(found.manifest.variants)
    return (_variant_of_file(found),)


def target_of_variant(found: Bundle | Path, variant: str, channel_block: int) -> PredictionTarget:
    """The kernels of one variant.

    Raises:
        UsageError: the bundle has no such variant.
        ArtefactError: a graph cannot be read; or the variant is TFLite, and the bundle holds no ONNX of it.
    """
    if isinstance(found, Path):
        return _of_file(found, variant, channel_block)
    found.variant(variant)
    m = found.manifest
    read, warnings = _readable(found, variant)
    graphs = {
        name: _kernels(found.file(file.path), variant, channel_block)
        for name, file in m.variants[read].components.items()
    }
    kinds = {c.name: c.kind for c in m.components}
    return PredictionTarget(m.name, variant, {c.name: graphs[c.name] for c in m.components}, kinds, m, warnings)


def _of_file(path: Path, variant: str, channel_block: int) -> PredictionTarget:
    """One graph; or, where it leaves early by itself, all that runs until each exit."""
    nested = [] if path.suffix == ".tflite" else read_exit_paths(path)
    ways = {f"{EXIT_PATH} {index}": kernels_from_graph(graph, channel_block) for index, graph in enumerate(nested)}
    graphs = ways or {path.name: _kernels(path, variant, channel_block)}
    return PredictionTarget(path.name, variant, graphs, dict.fromkeys(graphs, EXIT_PATH if ways else GRAPH))


def _readable(bundle: Bundle, variant: str) -> tuple[str, tuple[str, ...]]:
    """The variant whose files are looked into, and what to say where it is another one.

    TFLite files need a library of the extra `tflite`; without it the operators of ONNX files stand for them.
    """
    if variant.startswith("onnx/") or can_read_tflite():
        return variant, ()
    variants = bundle.manifest.variants
    same = f"onnx/{variant.split('/')[1]}"
    if same in variants:
        return same, (f"{variant} is predicted from the operators of {same}: pip install eetool[tflite]",)
    if ONNX_FP32 not in variants:
        raise ArtefactError(
            f"{bundle.path}: its {variant} graphs cannot be looked into, and it holds no ONNX of them",
            "pip install eetool[tflite], or export with --format onnx --format tflite.",
        )
    return ONNX_FP32, (f"{variant} is predicted from the operators of {ONNX_FP32}: pip install eetool[tflite]",)


def _kernels(path: Path, variant: str, channel_block: int) -> list[Kernel]:
    if path.suffix == ".tflite":
        return kernels_from_tflite(read_tflite(path))
    sums = BACKENDS[variant.split("/")[0]] != LITERT
    return kernels_from_graph(read_graph(path), channel_block, sums)


def _variant_of_file(path: Path) -> str:
    quantised = any(node.op == "QuantizeLinear" for node in read_graph(path).nodes)
    return f"onnx/{INT8 if quantised else FP32}"
