"""Benchmark: predictions and latencies of all contenders on the same inputs, and the document `bench/1`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.bench.contenders import (
    UNSPLIT,
    Contender,
    ContenderPrediction,
    bench_inputs,
    bundle_contenders,
    static_contender,
    with_unique_names,
)
from eetool.bench.exit_metrics import ExitFigures, exit_figures
from eetool.bench.interleaved_timing import time_interleaved
from eetool.bench.results import BenchRow, ContenderRun, make_row
from eetool.bench.verdict import ContenderSummary, Verdict, decide_verdict, ratio_interval
from eetool.data.source import Source
from eetool.data.splits import split_record
from eetool.errors import ArtefactError, UsageError
from eetool.progress import SILENT, Advance, Progress
from eetool_measure.machine import Machine, read_machine
from eetool_runtime.backends import backend_for
from eetool_runtime.model import Model

SCHEMA = "bench/1"
PASSES, MIN_SECONDS, SEED = 7, 3.0, 0
MAX_ACCURACY_DROP = 1.0  # percentage points, where neither the user nor the bundle gives a limit
_FULL = "full"


@dataclass(frozen=True)
class DataUsed:
    """Examples of the benchmark; `sha256` is that of the split's sorted int64 little-endian indices."""

    source: str
    split: str
    n: int
    sha256: str


@dataclass(frozen=True)
class Bench:
    """The document `bench/1`. `max_accuracy_drop` is in percentage points; `labels` are the names of the classes."""

    points: tuple[BenchRow, ...]
    verdict: Verdict
    bundle: str
    variant: str
    threads: int
    pool: str
    passes: int
    seed: int
    max_accuracy_drop: float
    data: DataUsed
    machine: Machine
    labels: tuple[str, ...] = ()
    exits: tuple[ExitFigures, ...] = ()


@dataclass(frozen=True)
class BenchRules:
    """Settings of a benchmark.

    Attributes:
        judged: operating point of the verdict.
        max_accuracy_drop: percentage points that it may lose.
        passes: passes over the inputs, at least.
        min_seconds: duration of the measurement, at least.
        seed: of the order of inputs and contenders.
    """

    judged: str
    max_accuracy_drop: float
    passes: int = PASSES
    min_seconds: float = MIN_SECONDS
    seed: int = SEED


def complete_rules(
    model: Model, judged: str | None, max_accuracy_drop: float | None, passes: int, min_seconds: float, seed: int
) -> BenchRules:
    """Return complete rules: the default is the bundle's default operating point and limit.

    The operating point `full` is the default only where the bundle has no other.

    Raises:
        UsageError: the bundle has no operating point called `judged`.
    """
    points = model.operating_points
    if judged is not None and judged not in points:
        raise UsageError(f"unknown operating point {judged!r}", f"This bundle has: {', '.join(points)}.")
    default = model.bundle.manifest.default_operating_point
    candidates = [default, *points]
    recorded = model.bundle.manifest.max_accuracy_drop
    limit = max_accuracy_drop if max_accuracy_drop is not None else recorded
    return BenchRules(
        judged=judged or next((name for name in candidates if name != _FULL), _FULL),
        max_accuracy_drop=MAX_ACCURACY_DROP if limit is None else limit,
        passes=passes,
        min_seconds=min_seconds,
        seed=seed,
    )


def compare_contenders(
    contenders: Sequence[Contender], labels: np.ndarray, n_exits: int, rules: BenchRules, progress: Progress = SILENT
) -> tuple[tuple[BenchRow, ...], Verdict, int]:
    """Run and time `contenders`, and decide the verdict on one of them.

    Args:
        contenders: the first is the unsplit backbone; each holds the same N inputs.
        labels: int64 (N,), their labels.
        n_exits: exits of the cascades, the final one included.
        rules: settings of the benchmark.
        progress: shows the steps.

    Returns:
        rows in the order of the contenders, the verdict, and the number of timed passes.
    """
    with progress("predictions before timing", len(contenders)) as advance:
        predictions = [_predict_all(contender, len(labels), advance) for contender in contenders]
    times_ns = time_interleaved(
        contenders,
        len(labels),
        passes=rules.passes,
        min_seconds=rules.min_seconds,
        seed=rules.seed,
        progress=progress,
    )
    runs = [
        ContenderRun(contender, predicted, np.median(times_ns[contender.name], axis=0) / 1e6)  # (passes, N) -> (N,)
        for contender, predicted in zip(contenders, predictions, strict=True)
    ]
    rows = tuple(make_row(run, runs[0], labels, n_exits) for run in runs)
    judged = next(run for run in runs if run.contender.name == rules.judged)
    interval = ratio_interval(judged.latency_ms, runs[0].latency_ms, rules.seed)
    summaries = {row.name: ContenderSummary(row.name, row.accuracy, row.latency_ms.mean) for row in rows}
    against = [summaries[row.name] for row in rows[1:] if row.exit_shares is None]
    verdict = decide_verdict(summaries[rules.judged], summaries[UNSPLIT], against, interval, rules.max_accuracy_drop)
    return rows, verdict, len(times_ns[UNSPLIT])


def bench_bundle(
    model: Model,
    source: Source,
    indices: np.ndarray,
    split: str,
    against: Sequence[Path],
    rules: BenchRules,
    progress: Progress = SILENT,
) -> Bench:
    """Compare `model` with its unsplit backbone and the networks of `against`.

    Args:
        model: loaded bundle.
        source: data source.
        indices: examples of the source, those of its split `split`.
        split: name of the split.
        against: ONNX files and bundles.
        rules: settings of the benchmark.
        progress: shows the steps.

    Raises:
        ArtefactError: the bundle has no unsplit reference or takes other inputs, or a network of `against` does not
            fit.
    """
    manifest, examples = model.bundle.manifest, source.inputs[indices]
    if source.classes != manifest.labels:
        raise ArtefactError(f"{model.bundle.path}: has other classes than {source.name!r}")
    inputs = bench_inputs(model.bundle, examples)
    networks = [static_contender(path, model, examples, inputs) for path in against]
    contenders = with_unique_names([*bundle_contenders(model, inputs), *networks])
    rows, verdict, passes = compare_contenders(contenders, source.labels[indices], len(manifest.exits), rules, progress)
    backend = backend_for(model.variant.split("/")[0])
    return Bench(
        points=rows,
        verdict=verdict,
        bundle=manifest.name,
        variant=model.variant,
        threads=model.threads.count,
        pool=model.threads.pool,
        passes=passes,
        seed=rules.seed,
        max_accuracy_drop=rules.max_accuracy_drop,
        data=DataUsed(source.name, split, len(indices), split_record({split: indices})[split].sha256),
        machine=read_machine(backend.name, backend.version),
        labels=manifest.labels,
        exits=exit_figures(
            model, inputs, source.labels[indices], indices, model.operating_points[rules.judged].thresholds, progress
        ),
    )


def _predict_all(contender: Contender, n_inputs: int, advance: Advance) -> list[ContenderPrediction]:
    """Return the predictions on all inputs before timing; this is also the warm-up."""
    contender.prepare()
    predictions = [contender.predict(index) for index in range(n_inputs)]
    advance(1)
    return predictions
