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
from eetool.bench.intervals import pass_half_width
from eetool.bench.results import BenchRow, ContenderRun, make_row
from eetool.bench.verdict import MeasuredNet, Verdict, decide_verdict
from eetool.data.source import Source, check_classes
from eetool.data.splits import split_record
from eetool.data.vocabulary import use_model_vocabulary
from eetool.errors import UnstableError, UsageError
from eetool.progress import SILENT, Advance, Progress
from eetool_measure.machine import Machine, read_machine
from eetool_measure.machine_state import read_machine_state
from eetool_measure.stability import MAX_CI95
from eetool_runtime.backends import backend_for
from eetool_runtime.model import Model
from eetool_runtime.near_names import known_names

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
    """The document `bench/1`.

    `max_accuracy_drop` is in percentage points, `labels` are the names of the classes, and `unstable` holds reasons to
    distrust the times, where they were accepted nevertheless.
    """

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
    unstable: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchRules:
    """Settings of a benchmark.

    Attributes:
        judged: operating point of the verdict.
        max_accuracy_drop: percentage points that it may lose.
        passes: passes over the inputs, at least.
        min_seconds: duration of the measurement, at least.
        seed: of the order of inputs and contenders.
        accept_unstable: keep unstable times, and note the reasons.
    """

    judged: str
    max_accuracy_drop: float
    passes: int = PASSES
    min_seconds: float = MIN_SECONDS
    seed: int = SEED
    accept_unstable: bool = False


def complete_rules(
    model: Model,
    judged: str | None,
    max_accuracy_drop: float | None,
    passes: int,
    min_seconds: float,
    seed: int,
    accept_unstable: bool = False,
) -> BenchRules:
    """Return complete rules: the default is the bundle's default operating point and limit.

    The operating point `full` is the default only where the bundle has no other.

    Raises:
        UsageError: the bundle has no operating point called `judged`.
    """
    points = model.operating_points
    if judged is not None and judged not in points:
        raise UsageError(f"unknown operating point {judged!r}", known_names(judged, points, "This bundle has"))
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
        accept_unstable=accept_unstable,
    )


@dataclass(frozen=True)
class Compared:
    """Rows in the order of the contenders, the verdict, the number of timed passes, and what made them unstable."""

    rows: tuple[BenchRow, ...]
    verdict: Verdict
    passes: int
    unstable: tuple[str, ...]


def compare_contenders(
    contenders: Sequence[Contender], labels: np.ndarray, n_exits: int, rules: BenchRules, progress: Progress = SILENT
) -> Compared:
    """Run and time `contenders`, and decide the verdict on one of them.

    Args:
        contenders: the first is the unsplit backbone; each holds the same N inputs.
        labels: int64 (N,), their labels.
        n_exits: exits of the cascades, the final one included.
        rules: settings of the benchmark.
        progress: shows the steps.

    Raises:
        UnstableError: the times of the judged point scatter too much between the passes, or the board was throttled.
    """
    before = read_machine_state()
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
        ContenderRun(contender, predicted, times_ns[contender.name] / 1e6)
        for contender, predicted in zip(contenders, predictions, strict=True)
    ]
    rows = tuple(make_row(run, runs[0], labels, n_exits) for run in runs)
    nets = {run.contender.name: _measured(run, labels) for run in runs}
    against = [nets[row.name] for row in rows[1:] if row.exit_shares is None]
    verdict = decide_verdict(nets[rules.judged], nets[UNSPLIT], against, rules.max_accuracy_drop, rules.seed)
    unstable = _unstable(nets[rules.judged], nets[UNSPLIT], before.throttled or read_machine_state().throttled)
    if unstable and not rules.accept_unstable:
        raise UnstableError(
            f"the measurement is unstable: {'; '.join(unstable)}",
            "Stop other programs, cool the board, or give more --passes; --accept-unstable keeps the times.",
        )
    return Compared(rows, verdict, len(times_ns[UNSPLIT]), unstable)


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
    manifest = model.bundle.manifest
    source = use_model_vocabulary(source, manifest.inputs)
    examples = source.inputs[indices]
    check_classes(source, manifest.labels, str(model.bundle.path))
    inputs = bench_inputs(model.bundle, examples)
    networks = [static_contender(path, model, examples, inputs) for path in against]
    contenders = with_unique_names([*bundle_contenders(model, inputs), *networks])
    compared = compare_contenders(contenders, source.labels[indices], len(manifest.exits), rules, progress)
    backend = backend_for(model.variant.split("/")[0])
    return Bench(
        points=compared.rows,
        verdict=compared.verdict,
        bundle=manifest.name,
        variant=model.variant,
        threads=model.threads.count,
        pool=model.threads.pool,
        passes=compared.passes,
        seed=rules.seed,
        max_accuracy_drop=rules.max_accuracy_drop,
        data=DataUsed(source.name, split, len(indices), split_record({split: indices})[split].sha256),
        machine=read_machine(backend.name, backend.version),
        labels=manifest.labels,
        exits=exit_figures(
            model, inputs, source.labels[indices], indices, model.operating_points[rules.judged].thresholds, progress
        ),
        unstable=compared.unstable,
    )


def _unstable(judged: MeasuredNet, unsplit: MeasuredNet, throttled: bool | None) -> tuple[str, ...]:
    """Return reasons to refuse the times, as `profile` refuses them; two passes are too few to tell."""
    reasons = ["the board was slowed down by heat or a weak supply"] if throttled else []
    share = pass_half_width(judged.pass_ms, unsplit.pass_ms)
    if len(judged.pass_ms) > 2 and share > MAX_CI95:
        reasons.append(f"the passes give the latency ratio to ±{share:.0%} only")
    return tuple(reasons)


def _measured(run: ContenderRun, labels: np.ndarray) -> MeasuredNet:
    return MeasuredNet(run.contender.name, run.classes == labels, run.latency_ms, run.times_ms.mean(axis=1))


def _predict_all(contender: Contender, n_inputs: int, advance: Advance) -> list[ContenderPrediction]:
    """Return the predictions on all inputs before timing; this is also the warm-up."""
    contender.prepare()
    predictions = [contender.predict(index) for index in range(n_inputs)]
    advance(1)
    return predictions
