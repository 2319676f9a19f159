"""Measures a folder of probe graphs: each as a whole, and each kernel inside it where the backend can tell.

The folder holds `probes.json` and one graph file per probe. `eetool profile --build-table` writes it, and makes a
latency table from the document that comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

import numpy as np

from eetool_runtime.backends import PRIVATE, Graph, Threads, backend_for
from eetool_runtime.errors import BundleError
from eetool_runtime.records import dataclass, decode, parse_json

from .machine import Machine, read_machine
from .machine_state import MachineState, read_machine_state
from .runtime_overhead import RuntimeOverhead, measure_overhead
from .timing import Latency, Subject, bind_to, interleave, latency, time_alternating

PROBES = "probes.json"
SCHEMA = "probes/1"
TIMES_SCHEMA = "probe_times/1"
_TOGETHER = 8  # graphs that take turns; more would keep too many in memory


@dataclass(frozen=True)
class Probe:
    """One graph file and the seed of its inputs."""

    name: str
    path: str


@dataclass(frozen=True)
class Probes:
    """What `probes.json` says."""

    schema: str
    format: str
    precision: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class KernelTime:
    """One kernel inside a probe, in microseconds; see `backends.onnx_trace.NodeTime`."""

    name: str
    op: str
    elements_in: int
    elements_out: int
    channels_out: int
    mean_us: float
    runs: int


@dataclass(frozen=True)
class ProbeTime:
    """One probe: whole calls of its graph, and its kernels (none where the backend cannot trace).

    `in_turn_ms` is the median of calls before each of which the probe named by `in_turn_with` ran once.
    """

    name: str
    latency_ms: Latency
    kernels: tuple[KernelTime, ...]
    in_turn_ms: Optional[float] = None
    in_turn_with: Optional[str] = None


@dataclass(frozen=True)
class ProbeTimes:
    """The document `probe_times/1`."""

    schema: str
    format: str
    precision: str
    backend: str
    threads: int
    cascade: RuntimeOverhead
    probes: tuple[ProbeTime, ...]
    before: MachineState
    after: MachineState
    machine: Machine


def read_probes(folder: Path) -> Probes:
    """Read `probes.json`; raises BundleError where it is off."""

    def refuse(reason: str) -> BundleError:
        return BundleError(f"{folder / PROBES}: {reason}", "Write the probes again with `eetool profile`.")

    try:
        text = (folder / PROBES).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(f"cannot be read: {error}") from None
    probes = decode(Probes, parse_json(text, refuse), refuse)
    if probes.schema != SCHEMA:
        raise refuse(f"expected schema {SCHEMA!r}, found {probes.schema!r}")
    for probe in probes.probes:
        path = Path(probe.path)
        if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
            raise refuse(f"{probe.path!r} is no file of this folder")
    return probes


def measure_probes(
    folder: Path, *, threads: int = 1, pool: str = PRIVATE, runs: int = 30, min_seconds: float = 0.0, seed: int = 0
) -> ProbeTimes:
    """Measure every probe at batch 1 on random inputs.

    Args:
        runs: at least so many timed calls of every graph.
        min_seconds: at least so much measuring of every few graphs that take turns.

    Raises:
        BundleError: the folder is no folder of probes.
        BackendError: a graph cannot be opened.
    """
    probes = read_probes(folder)
    backend = backend_for(probes.format)
    before = read_machine_state()
    times: list[ProbeTime] = []
    for first in range(0, len(probes.probes), _TOGETHER):
        some = probes.probes[first : first + _TOGETHER]
        times += _together(folder, some, probes, Threads(threads, pool), runs, min_seconds, seed + first)
    machine = read_machine(backend.name, backend.version)
    cascade = measure_overhead()
    return ProbeTimes(
        schema=TIMES_SCHEMA,
        format=probes.format,
        precision=probes.precision,
        backend=backend.name,
        threads=threads,
        cascade=cascade,
        probes=tuple(times),
        before=before,
        after=read_machine_state(),
        machine=machine,
    )


def _together(
    folder: Path, probes: Sequence[Probe], said: Probes, threads: Threads, runs: int, seconds: float, seed: int
) -> list[ProbeTime]:
    """Measure a few graphs in turns, each whole and, where that tells anything, traced."""
    backend, draw = backend_for(said.format), np.random.default_rng(seed)
    subjects: dict[tuple[str, str], Subject] = {}
    traced: dict[str, Any] = {}
    for probe in probes:
        path = folder / probe.path
        graph = backend.open(path, threads)
        feed = _feed(graph, draw)
        subjects["whole", probe.name] = _bound(graph, feed)
        tracer = _tracer(said, path, graph.threads)
        if tracer is not None:
            traced[probe.name] = tracer
            subjects["traced", probe.name] = partial(_traced, tracer, feed)
    times = interleave(subjects, runs=runs, min_seconds=seconds, seed=seed)
    in_turn = _pairs([(probe.name, subjects["whole", probe.name]) for probe in probes], runs)
    found = []
    for probe in probes:
        nodes = traced[probe.name].finish() if probe.name in traced else ()
        kernels = tuple(KernelTime(**vars(node)) for node in nodes)
        whole = latency(times["whole", probe.name])
        found.append(ProbeTime(probe.name, whole, kernels, *in_turn.get(probe.name, (None, None))))
    return found


def _pairs(subjects: Sequence[tuple[str, Subject]], runs: int) -> dict[str, tuple[float, str]]:
    """Median milliseconds of each in turn with its neighbour, and who that is; of an odd last one nothing."""
    found = {}
    for (one, call_one), (other, call_other) in zip(subjects[::2], subjects[1::2]):
        times = time_alternating({one: call_one, other: call_other}, runs)
        found.update({one: (times[one], other), other: (times[other], one)})
    return found


def _tracer(said: Probes, path: Path, threads: Threads) -> Optional[Any]:
    """ONNX Runtime can trace. What it makes of int8 graphs has other names than the graph, which nobody could match."""
    if (said.format, said.precision) != ("onnx", "fp32"):
        return None
    from .kernel_trace import TracedGraph

    return TracedGraph(path, threads)


def _bound(graph: Graph, feed: Mapping[str, np.ndarray]) -> Subject:
    """Called as a model calls its graphs."""
    call = bind_to(graph, feed)[0].call
    return lambda number: call()


def _traced(tracer: Any, feed: Mapping[str, np.ndarray], number: int) -> object:
    return tracer.run(feed)


def _feed(graph: Graph, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Standard normal inputs at batch 1; whole numbers below 2 where the graph wants integers."""
    feed = {}
    for name, spec in graph.inputs.items():
        shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
        dtype = np.dtype(spec.dtype)
        values = draw.standard_normal(shape) if dtype.kind == "f" else draw.integers(0, 2, shape)
        feed[name] = values.astype(dtype)
    return feed
