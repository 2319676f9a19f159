"""The graph files of probe networks in every format and precision, and the kernels in them.

TFLite files are written as the exporter's converter writes them (`tflite_sketch.py`), int8 files are made by the
exporter's own quantisers from the float ones. What is in a file is remembered, as it takes far longer to make than to
look into.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.errors import ArtefactError, UsageError
from eetool.graphs.onnx_graph import SizedGraph, graph_from_model, read_graph
from eetool.graphs.quantize import QuantizationJob, quantize, save_feeds
from eetool.graphs.tflite_graph import TfliteGraph, read_tflite
from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.kernels.kernel import FP32, INT8, Kernel
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder, to_model
from eetool.latency.probes.onnx_to_tflite import convert_to_tflite
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool.records import canonical, write_directory
from eetool.workspace import scratch
from eetool_measure.probe_timing import PROBES, SCHEMA, Probe, Probes
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import BackendError

ONNX, TFLITE = "onnx", "tflite"
_RECIPES = {ONNX: "onnx-static", TFLITE: "tflite-static"}


@dataclass(frozen=True)
class ProbeKind:
    """What the probes of one table are: a format and a precision."""

    format: str = ONNX
    precision: str = FP32

    @property
    def name(self) -> str:
        """As a variant of a bundle: `onnx/fp32`."""
        return f"{self.format}/{self.precision}"

    @property
    def traced(self) -> bool:
        """Whether the runtime says how long each kernel of such a graph took, in words that can be understood."""
        return self.name == "onnx/fp32"


_structures: dict[tuple[ProbeNetwork, ProbeKind], SizedGraph | TfliteGraph] = {}


def write_probes(
    folder: Path, chosen: Sequence[ProbeNetwork], kind: ProbeKind = ProbeKind(), force: bool = False
) -> list[ProbeNetwork]:
    """Write a folder of probes; returns those that could be written, which int8 sometimes cannot.

    Raises:
        OutputError: it exists, or cannot be written; with `force` an empty folder or a file is replaced.
        MissingError: a library of the extra `tflite` is not installed.
    """
    with write_directory(folder, force) as temporary:
        written = _write_graphs(temporary, chosen, kind)
        probes = tuple(Probe(net.name, _file(net, kind)) for net in written)
        document = Probes(SCHEMA, kind.format, kind.precision, probes)
        (temporary / PROBES).write_text(canonical(document), encoding="utf-8")
    return written


def index_kernels(nets: Sequence[ProbeNetwork], kind: ProbeKind) -> None:
    """Remember what is in the files of `nets`, making those that nobody has looked into yet."""
    unknown = [net for net in nets if (net, kind) not in _structures]
    if not unknown:
        return
    if kind == ProbeKind():  # nothing but the sketch is needed
        for net in unknown:
            _structures[net, kind] = graph_from_model(net.model(), net.name)
        return
    with scratch() as folder:
        _write_graphs(folder, unknown, kind)


def kernels_of_probe(net: ProbeNetwork, kind: ProbeKind, channel_block: int = 1) -> list[Kernel]:
    """The kernels that the runtime runs for a probe; raises ArtefactError where there is no such file."""
    return list(_kernels(net, kind, channel_block))


@functools.cache
def _kernels(net: ProbeNetwork, kind: ProbeKind, channel_block: int) -> tuple[Kernel, ...]:
    # Asked for again with every table of a build.
    index_kernels([net], kind)
    found = _structures.get((net, kind))
    if found is None:
        raise ArtefactError(f"{net.name} cannot be written as {kind.name}")
    return tuple(
        kernels_from_graph(found, channel_block) if isinstance(found, SizedGraph) else kernels_from_tflite(found)
    )


def _file(net: ProbeNetwork, kind: ProbeKind) -> str:
    return f"{net.name}.{kind.format}"


def _write_graphs(folder: Path, chosen: Sequence[ProbeNetwork], kind: ProbeKind) -> list[ProbeNetwork]:
    """Write the files and look into them."""
    if kind.precision == INT8:
        written = _quantised(folder, chosen, kind)
    else:
        written = list(chosen)
        for net in chosen:
            (folder / _file(net, kind)).write_bytes(_bytes(net.sketch(), kind.format))
    for net in written:
        path = folder / _file(net, kind)
        _structures[net, kind] = read_graph(path) if kind.format == ONNX else read_tflite(path)
    return written


def _quantised(folder: Path, chosen: Sequence[ProbeNetwork], kind: ProbeKind) -> list[ProbeNetwork]:
    with scratch() as temporary:
        jobs = []
        for net in chosen:
            source, feeds = temporary / f"{net.name}.float", temporary / f"{net.name}.npz"
            sketch = net.sketch()
            source.write_bytes(_bytes(sketch, kind.format))
            shape = tuple(int(size) for size in sketch.weights[INPUT])
            save_feeds(feeds, ["x"], [{"x": np.random.default_rng(net.seed).standard_normal(shape).astype(np.float32)}])
            jobs.append(QuantizationJob(_RECIPES[kind.format], str(source), str(folder / _file(net, kind)), str(feeds)))
        reasons = quantize(jobs)
    made = [net for net, reason in zip(chosen, reasons, strict=True) if reason is None]
    return [net for net in made if _loads(folder / _file(net, kind))]


def _loads(path: Path) -> bool:
    """The quantiser of TFLite sometimes writes a graph that LiteRT refuses."""
    try:
        open_graph(path)
    except BackendError:
        path.unlink()
        return False
    return True


def _bytes(sketch: OnnxBuilder, graph_format: str) -> bytes:
    if graph_format == TFLITE:
        return convert_to_tflite(sketch)
    made: bytes = to_model(sketch).SerializeToString(deterministic=True)
    return made


def probe_kinds(formats: Sequence[str], precisions: Sequence[str]) -> list[ProbeKind]:
    """Every format in every precision, each once; by default ONNX in fp32.

    Raises:
        UsageError: one of them is not known.
    """
    for word, known in ((w, k) for words, k in ((formats, (ONNX, TFLITE)), (precisions, (FP32, INT8))) for w in words):
        if word not in known:
            raise UsageError(f"unknown {word!r}", f"Known: {', '.join(known)}.")
    return [ProbeKind(f, p) for f in dict.fromkeys(formats or (ONNX,)) for p in dict.fromkeys(precisions or (FP32,))]
