"""Graph files of probe networks in every format and precision, and the kernels in them.

TFLite files imitate the exporter's converter (`onnx_to_tflite.py`). The exporter's quantisers make int8 files from
float ones. Graphs are cached, because writing a file takes far longer than reading it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.errors import ArtefactError, UsageError
from eetool.graphs.calibration_feeds import save_feeds
from eetool.graphs.onnx_graph import SizedGraph, graph_from_model, read_graph
from eetool.graphs.quantize import QuantizationJob, quantize
from eetool.graphs.tflite_graph import TfliteGraph, read_tflite
from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.kernels.kernel import FP32, INT8, Kernel
from eetool.latency.probes.large_networks import ONNX_ONLY
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder, to_model
from eetool.latency.probes.onnx_to_tflite import convert_to_tflite
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool.records import canonical, write_directory
from eetool.workspace import scratch
from eetool_measure.probe_timing import PROBES, SCHEMA, Probe, Probes
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import BackendError
from eetool_runtime.near_names import known_names

ONNX, TFLITE = "onnx", "tflite"
_RECIPES = {ONNX: "onnx-static", TFLITE: "tflite-static"}


@dataclass(frozen=True)
class ProbeKind:
    """Format and precision of the probes of one table."""

    format: str = ONNX
    precision: str = FP32

    @property
    def name(self) -> str:
        """Name as of a bundle variant: `onnx/fp32`."""
        return f"{self.format}/{self.precision}"

    @property
    def traced(self) -> bool:
        """True where the runtime reports usable times of single kernels for such graphs."""
        return self.name == "onnx/fp32"


_graphs: dict[tuple[ProbeNetwork, ProbeKind], SizedGraph | TfliteGraph] = {}


def write_probes(
    folder: Path, chosen: Sequence[ProbeNetwork], kind: ProbeKind = ProbeKind(), force: bool = False
) -> list[ProbeNetwork]:
    """Write a folder of probes.

    Args:
        folder: the folder, which must not exist.
        chosen: the networks to write.
        kind: format and precision.
        force: replace an empty folder or a file of that name.

    Returns:
        The networks that were written; quantisation fails for some int8 networks.

    Raises:
        OutputError: the folder exists or cannot be written.
        MissingError: a library of the extra `tflite` is not installed.
    """
    with write_directory(folder, force) as temporary:
        written = _write_graphs(temporary, chosen, kind)
        probes = tuple(Probe(net.name, _file_name(net, kind)) for net in written)
        document = Probes(SCHEMA, kind.format, kind.precision, probes)
        (temporary / PROBES).write_text(canonical(document), encoding="utf-8")
    return written


def index_kernels(nets: Sequence[ProbeNetwork], kind: ProbeKind) -> None:
    """Cache the graphs of some networks, writing files where that is needed."""
    unknown = [net for net in nets if (net, kind) not in _graphs]
    if not unknown:
        return
    if kind == ProbeKind():  # no file is needed
        for net in unknown:
            _graphs[net, kind] = graph_from_model(net.model(), net.name)
        return
    with scratch() as folder:
        _write_graphs(folder, unknown, kind)


def kernels_of_probe(net: ProbeNetwork, kind: ProbeKind, channel_block: int = 1) -> list[Kernel]:
    """Return the kernels that the runtime runs for a probe.

    Raises:
        ArtefactError: the probe cannot be written as this kind.
    """
    return list(_kernels(net, kind, channel_block))


@functools.cache
def _kernels(net: ProbeNetwork, kind: ProbeKind, channel_block: int) -> tuple[Kernel, ...]:
    # Cached: every table of a build needs them.
    index_kernels([net], kind)
    graph = _graphs.get((net, kind))
    if graph is None:
        raise ArtefactError(f"{net.name} cannot be written as {kind.name}")
    return tuple(
        kernels_from_graph(graph, channel_block) if isinstance(graph, SizedGraph) else kernels_from_tflite(graph)
    )


def _file_name(net: ProbeNetwork, kind: ProbeKind) -> str:
    return f"{net.name}.{kind.format}"


def _write_graphs(folder: Path, chosen: Sequence[ProbeNetwork], kind: ProbeKind) -> list[ProbeNetwork]:
    """Write the files and cache their graphs; leave out networks that this format has no conversion of."""
    if kind.format == TFLITE:
        chosen = [net for net in chosen if net.family not in ONNX_ONLY]
    if kind.precision == INT8:
        written = _write_int8(folder, chosen, kind)
    else:
        written = list(chosen)
        for net in chosen:
            (folder / _file_name(net, kind)).write_bytes(_float_bytes(net.build(), kind.format))
    for net in written:
        path = folder / _file_name(net, kind)
        _graphs[net, kind] = read_graph(path) if kind.format == ONNX else read_tflite(path)
    return written


def _write_int8(folder: Path, chosen: Sequence[ProbeNetwork], kind: ProbeKind) -> list[ProbeNetwork]:
    with scratch() as temporary:
        jobs = []
        for net in chosen:
            source = temporary / f"{net.name}.float"
            builder = net.build()
            source.write_bytes(_float_bytes(builder, kind.format))
            shape = tuple(int(size) for size in builder.weights[INPUT])
            case = {"x": np.random.default_rng(net.seed).standard_normal(shape).astype(np.float32)}
            feeds = save_feeds(temporary / net.name, ["x"], [case])
            jobs.append(QuantizationJob(_RECIPES[kind.format], str(source), str(folder / _file_name(net, kind)), feeds))
        reasons = quantize(jobs)
    quantized = [net for net, reason in zip(chosen, reasons, strict=True) if reason is None]
    return [net for net in quantized if _can_open(folder / _file_name(net, kind))]


def _can_open(path: Path) -> bool:
    """Return whether the runtime opens a file, and delete it otherwise: LiteRT refuses some quantised graphs."""
    try:
        open_graph(path)
    except BackendError:
        path.unlink()
        return False
    return True


def _float_bytes(builder: OnnxBuilder, graph_format: str) -> bytes:
    if graph_format == TFLITE:
        return convert_to_tflite(builder)
    data: bytes = to_model(builder).SerializeToString(deterministic=True)
    return data


def probe_kinds(formats: Sequence[str], precisions: Sequence[str]) -> list[ProbeKind]:
    """Return every format in every precision, each once; ONNX in fp32 by default.

    Raises:
        UsageError: a format or precision is unknown.
    """
    for word, known in ((w, k) for words, k in ((formats, (ONNX, TFLITE)), (precisions, (FP32, INT8))) for w in words):
        if word not in known:
            raise UsageError(f"unknown {word!r}", known_names(word, known, "Known"))
    return [ProbeKind(f, p) for f in dict.fromkeys(formats or (ONNX,)) for p in dict.fromkeys(precisions or (FP32,))]
