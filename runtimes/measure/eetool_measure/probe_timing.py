"""Measurement of a folder of probe graphs: the latency of each graph, and of each kernel where the backend can trace.

The folder holds `probes.json` and one graph file per probe. `eetool table build` writes it and builds a latency table
from the resulting document.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
ALL, WHOLE = "all", "whole"
_PLAIN_EVERY = 4  # of so many graphs, one is also called without bound buffers
_GROUP_SIZE = 8  # graphs that are timed together; more would need too much memory


@dataclass(frozen=True)
class Probe:
    """One graph file and the seed of its inputs."""

    name: str
    path: str


@dataclass(frozen=True)
class Probes:
    """The document `probes.json`."""

    schema: str
    format: str
    precision: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class KernelTime:
    """One kernel inside a probe; see `kernel_trace.NodeTime`."""

    name: str
    op: str
    elements_in: int
    elements_out: int
    channels_out: int
    mean_us: float
    runs: int


@dataclass(frozen=True)
class ProbeTime:
    """One probe: latency of its graph, and its kernels (none where the backend cannot trace).

    `in_turn_ms` is the median latency of calls that alternate with the probe `in_turn_with`. `plain_more_ms` is the
    additional median of plain calls, which allocate their outputs, over bound ones that alternate with them; it is
    taken of some probes. `io_bytes` is the size of inputs and outputs.
    """

    name: str
    latency_ms: Latency
    kernels: tuple[KernelTime, ...]
    in_turn_ms: Optional[float] = None
    in_turn_with: Optional[str] = None
    plain_more_ms: Optional[float] = None
    io_bytes: Optional[int] = None


@dataclass(frozen=True)
class ProbeTimes:
    """The document `probe_times/1`.

    `processor_share` is the processor time of the measurement over its duration, at most 1: with less, other programs
    ran in between. Null in documents of earlier versions.
    """

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
    processor_share: Optional[float] = None


def read_probes(folder: Path) -> Probes:
    """Read `probes.json`; raises BundleError where it is invalid."""

    def refuse(reason: str) -> BundleError:
        return BundleError(
            f"{folder / PROBES}: {reason}", "Write the probes again with `eetool table build --write-probes`."
        )

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
            raise refuse(f"{probe.path!r} is not a file of this folder")
    return probes


def measure_probes(
    folder: Path,
    *,
    threads: int = 1,
    pool: str = PRIVATE,
    runs: int = 30,
    min_seconds: float = 0.0,
    seed: int = 0,
    times: str = ALL,
    report: Callable[[int], None] = lambda steps: None,
) -> ProbeTimes:
    """Measure every probe at batch 1 on random inputs.

    Args:
        folder: with `probes.json`.
        threads: per graph.
        pool: `private` or `process`.
        runs: minimum number of timed calls of every graph.
        min_seconds: minimum measuring time of every group of graphs.
        seed: of inputs and of the random order.
        times: `all`, or `whole` for those of whole calls alone, without kernels and without alternation.
        report: receives the number of probes of every group, after it was measured.

    Raises:
        BundleError: the folder holds no probes.
        BackendError: a graph cannot be opened.
    """
    probes = read_probes(folder)
    backend = backend_for(probes.format)
    before = read_machine_state()
    measured: list[ProbeTime] = []
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(probes.probes), _GROUP_SIZE):
        group = probes.probes[first : first + _GROUP_SIZE]
        plan = GroupPlan(Threads(threads, pool), runs, min_seconds, seed + first, times == WHOLE)
        measured += _measure_group(folder, group, probes, plan)
        report(len(group))
    share = (time.process_time() - begin_cpu) / max(time.perf_counter() - begin, 1e-9)
    machine = read_machine(backend.name, backend.version)
    cascade = measure_overhead()
    return ProbeTimes(
        schema=TIMES_SCHEMA,
        format=probes.format,
        precision=probes.precision,
        backend=backend.name,
        threads=threads,
        cascade=cascade,
        probes=tuple(measured),
        before=before,
        after=read_machine_state(),
        machine=machine,
        processor_share=min(1.0, share),
    )


@dataclass(frozen=True)
class GroupPlan:
    """Settings of the measurement of a few graphs; see `measure_probes`."""

    threads: Threads
    runs: int
    min_seconds: float
    seed: int
    whole_only: bool


def _measure_group(folder: Path, group: Sequence[Probe], probes: Probes, plan: GroupPlan) -> list[ProbeTime]:
    """Measure a few graphs in random order, each untraced and, where supported, traced."""
    backend, rng = backend_for(probes.format), np.random.default_rng(plan.seed)
    subjects: dict[tuple[str, str], Subject] = {}
    traced: dict[str, Any] = {}
    plain: dict[str, Subject] = {}
    sizes: dict[str, int] = {}
    for probe in group:
        path = folder / probe.path
        graph = backend.open(path, plan.threads)
        feed = _random_inputs(graph, rng)
        subjects["whole", probe.name], sizes[probe.name] = _bound(graph, feed)
        plain[probe.name] = partial(_call_plainly, graph, feed)
        tracer = None if plan.whole_only else _tracer(probes, path, graph.threads)
        if tracer is not None:
            traced[probe.name] = tracer
            subjects["traced", probe.name] = partial(_traced, tracer, feed)
    times = interleave(subjects, runs=plan.runs, min_seconds=plan.min_seconds, seed=plan.seed)
    in_turn: dict[str, tuple[float, str]] = {}
    if not plan.whole_only:
        in_turn = _time_pairs([(probe.name, subjects["whole", probe.name]) for probe in group], plan.runs)
    more_ms: dict[str, float] = {}
    for probe in () if plan.whole_only else group[::_PLAIN_EVERY]:
        more_ms[probe.name] = _time_plain(subjects["whole", probe.name], plain[probe.name], plan.runs)
    probe_times = []
    for probe in group:
        nodes = traced[probe.name].finish() if probe.name in traced else ()
        kernels = tuple(KernelTime(**vars(node)) for node in nodes)
        whole = latency(times["whole", probe.name])
        in_turn_ms, neighbour = in_turn.get(probe.name, (None, None))
        more = more_ms.get(probe.name)
        probe_times.append(ProbeTime(probe.name, whole, kernels, in_turn_ms, neighbour, more, sizes[probe.name]))
    return probe_times


def _time_pairs(subjects: Sequence[tuple[str, Subject]], runs: int) -> dict[str, tuple[float, str]]:
    """Return the median milliseconds of each subject that alternates with its neighbour, and the neighbour's name.

    An odd last subject has no neighbour and is left out.
    """
    medians = {}
    for (one, call_one), (other, call_other) in zip(subjects[::2], subjects[1::2]):
        times = time_alternating({one: call_one, other: call_other}, runs)
        medians.update({one: (times[one], other), other: (times[other], one)})
    return medians


def _time_plain(bound: Subject, plain: Subject, runs: int) -> float:
    """Return the additional median milliseconds of a plain call, in alternation with the bound one."""
    times = time_alternating({"bound": bound, "plain": plain}, runs)
    return times["plain"] - times["bound"]


def _tracer(probes: Probes, path: Path, threads: Threads) -> Optional[Any]:
    """Return a traced graph, or None where kernels cannot be traced.

    ONNX Runtime renames the kernels of int8 graphs, so that they cannot be matched.
    """
    if (probes.format, probes.precision) != ("onnx", "fp32"):
        return None
    from .kernel_trace import TracedGraph

    return TracedGraph(path, threads)


def _bound(graph: Graph, feed: Mapping[str, np.ndarray]) -> tuple[Subject, int]:
    """Return calls of `graph` as a model makes them, and the bytes of its inputs and outputs."""
    bound, outputs = bind_to(graph, feed)
    call = bound.call
    return lambda number: call(), sum(array.nbytes for array in (*feed.values(), *outputs.values()))


def _call_plainly(graph: Graph, feed: Mapping[str, np.ndarray], number: int) -> object:
    return graph.run(feed)


def _traced(tracer: Any, feed: Mapping[str, np.ndarray], number: int) -> object:
    return tracer.run(feed)


def _random_inputs(graph: Graph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return standard normal inputs at batch 1; 0 or 1 for inputs of integers."""
    feed = {}
    for name, spec in graph.inputs.items():
        shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
        dtype = np.dtype(spec.dtype)
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feed[name] = values.astype(dtype)
    return feed
