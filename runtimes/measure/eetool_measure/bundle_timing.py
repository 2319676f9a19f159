"""Measurement of a bundle: every component alone, the cascade at every exit, and the unsplit graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np

from eetool_runtime.backends import PROCESS, Graph, Threads, backend_for
from eetool_runtime.bundle import MANIFEST, Bundle
from eetool_runtime.errors import BundleError, UsageError
from eetool_runtime.loading import open_graphs
from eetool_runtime.manifest import Input, Manifest, Variant, scalars
from eetool_runtime.model import Model
from eetool_runtime.preprocess import preprocess

from .energy import EnergyMeter
from .machine import read_machine
from .machine_state import read_machine_state
from .results import (
    COMPONENT,
    EXIT,
    FULL,
    REFERENCE,
    VIEW,
    BundleId,
    Key,
    Measurement,
    summarize_times,
    thresholds_to_leave_at,
)
from .stability import Steadiness, drift, interleave_until_steady, p90_to_median, relative_ci95
from .sustained import measure_sustained
from .timing import Subject, translate_errors

RUNS, MIN_SECONDS, SEED = 300, 3.0, 0
PICTURE = (480, 640)  # height and width of a picture of which inputs are made
_MAX_SAMPLES = 16

Tensors = dict[str, np.ndarray]


def measure_bundle(
    bundle: Bundle,
    variant: str,
    *,
    threads: int = 1,
    pool: str = PROCESS,
    runs: int = RUNS,
    min_seconds: float = MIN_SECONDS,
    seed: int = SEED,
    power: Optional[EnergyMeter] = None,
    sustained_seconds: Optional[float] = None,
    picture: tuple[int, int] = PICTURE,
) -> Measurement:
    """Measure one variant at batch 1 on the bundle's own samples.

    Args:
        bundle: an opened bundle.
        variant: name of the variant.
        threads: per graph.
        pool: `private` or `process`.
        runs: minimum number of timed calls of every subject.
        min_seconds: minimum measuring time, without warm-up.
        seed: of the random order of subjects.
        power: meter for a measurement of energy after that of latency, or None.
        sustained_seconds: duration of a final closed loop at the default operating point, or None.
        picture: height and width of the picture of which inputs are made, where the bundle has a rule of resizing.

    Raises:
        UsageError: the variant does not exist, or an argument is out of range.
        BundleError: the bundle has no samples, or a reference reads a tensor that no component computes.
        BackendError: a graph cannot be opened or run, or the pool of this process has another size.
        MeterError: the power meter failed.
    """
    if runs < 1 or not 0 <= min_seconds < float("inf"):
        raise UsageError("runs must be at least 1, and min-seconds a number that is not negative")
    graphs, subjects, inputs = graphs_and_subjects(bundle, variant, Threads(threads, pool))
    opener = backend_for(variant.split("/")[0])
    granted = next(iter(graphs.values())).threads  # may differ from the request
    energy_subjects, subjects = subjects, {**subjects, **_view_subjects(bundle.manifest, picture)}
    before = read_machine_state()
    cascades = [key for key in subjects if key[0] in (EXIT, FULL[0])]  # short components may vary more
    times = interleave_until_steady(subjects, cascades, runs=runs, min_seconds=min_seconds, seed=seed)
    cascade_times = {key: times[key] for key in cascades}
    steadiness = Steadiness(
        relative_ci95(cascade_times), drift(cascade_times), before, read_machine_state(), p90_to_median(cascade_times)
    )
    summary = summarize_times(bundle.manifest, granted, times, picture)
    energy = power.energy(energy_subjects, summary, seed) if power is not None else None
    sustained = None
    if sustained_seconds is not None:
        # As an application calls it: at the default operating point, one sample after the other.
        model, point = Model(bundle, variant, graphs, granted), bundle.manifest.default_operating_point
        sustained = measure_sustained(lambda number: model(inputs[number % len(inputs)]), point, sustained_seconds)
    machine = read_machine(opener.name, opener.version)
    return Measurement(bundle_id(bundle), variant, summary, machine, steadiness, energy, sustained)


def _view_subjects(m: Manifest, picture: tuple[int, int]) -> dict[Key, Subject]:
    """Return the making of every input that is made of photographs, from an array as a camera gives it."""
    subjects: dict[Key, Subject] = {}
    for spec in m.inputs:
        if spec.preprocess is not None and spec.preprocess.resize is not None:
            shape = (*picture, int(spec.shape[1]))
            pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            subjects[VIEW, spec.name] = _preprocessing(pixels, spec)
    return subjects


def _preprocessing(pixels: np.ndarray, spec: Input) -> Subject:
    return lambda number: preprocess(pixels, spec)


def bundle_id(bundle: Bundle) -> BundleId:
    """Return name and hash of a bundle, to identify it in documents."""
    digest = hashlib.sha256(bundle.file(MANIFEST).read_bytes()).hexdigest()
    return BundleId(bundle.manifest.name, digest)


def graphs_and_subjects(
    bundle: Bundle, variant: str, threads: Threads
) -> tuple[dict[str, Graph], dict[Key, Subject], list[Tensors]]:
    """Open the components of a bundle and prepare the subjects to time.

    Returns:
        graphs by component; subjects, functions of the number of the call; sample inputs at batch 1.

    Raises as `measure_bundle`.
    """
    m, fitted, opener = bundle.manifest, bundle.variant(variant), backend_for(variant.split("/")[0])
    graphs = open_graphs(bundle, variant, opener, threads)
    threads = next(iter(graphs.values())).threads
    inputs = _sample_inputs(bundle)
    tensors = [_all_tensors(m, fitted, graphs, x) for x in inputs]
    subjects: dict[Key, Subject] = {}
    for c in m.components:
        subjects[COMPONENT, c.name] = _graph_subject(graphs[c.name], tensors, c.name)
    for index in range(len(m.exits)):
        subjects[EXIT, str(index)] = _model_subject(
            Model(bundle, variant, graphs, threads), thresholds_to_leave_at(m, index), inputs
        )
    skip_all = (None,) * m.n_early_exits
    subjects[FULL] = _model_subject(Model(bundle, variant, graphs, threads), skip_all, inputs)
    for name, path in fitted.references.items():
        subjects[REFERENCE, name] = _graph_subject(opener.open(bundle.file(path), threads), tensors, path)
    return graphs, subjects, inputs


def _sample_inputs(bundle: Bundle) -> list[Tensors]:
    """Return the sample inputs of the bundle, one dictionary of arrays at batch 1 per sample."""
    arrays = bundle.arrays(bundle.manifest.samples)
    missing = [i.name for i in bundle.manifest.inputs if i.name not in arrays or len(arrays[i.name]) == 0]
    if missing:
        raise BundleError(f"{bundle.manifest.samples}: holds no samples of the input {missing[0]!r}")
    count = min(_MAX_SAMPLES, *(len(arrays[i.name]) for i in bundle.manifest.inputs))
    return [{i.name: arrays[i.name][n : n + 1] for i in bundle.manifest.inputs} for n in range(count)]


def _all_tensors(m: Manifest, fitted: Variant, graphs: Mapping[str, Graph], inputs: Tensors) -> Tensors:
    """Return every tensor that the components compute from one input, as realistic inputs of each component."""
    tensors = dict(inputs)
    tensors.update({name: np.array(value, np.float32) for name, value in scalars(m, fitted).items()})
    for c in m.components:
        graph = graphs[c.name]
        tensors.update(zip(graph.outputs, graph.run(_feed(graph, tensors, c.name))))
    return tensors


def _feed(graph: Graph, tensors: Tensors, name: str) -> Tensors:
    missing = [tensor for tensor in graph.inputs if tensor not in tensors]
    if missing:
        raise BundleError(f"{name}: its graph reads {missing[0]!r}, which no component computes")
    return {tensor: tensors[tensor] for tensor in graph.inputs}


def _graph_subject(graph: Graph, tensors: Sequence[Tensors], name: str) -> Subject:
    """Return calls of one graph, bound to arrays as in the cascade."""
    feeds = [{n: np.asarray(a, order="C") for n, a in _feed(graph, t, name).items()} for t in tensors]
    outputs = dict(zip(graph.outputs, map(np.array, graph.run(feeds[0]))))
    calls = [translate_errors(graph.bind(feed, outputs).call) for feed in feeds]
    return lambda number: calls[number % len(calls)]()


def _model_subject(model: Model, thresholds: tuple[Optional[float], ...], inputs: Sequence[Tensors]) -> Subject:
    """Return calls of a model as an application makes them: with an array, or a dictionary for several inputs."""
    model.use(threshold=thresholds)
    arguments = [x if len(x) > 1 else next(iter(x.values())) for x in inputs]
    return lambda number: model(arguments[number % len(arguments)])
