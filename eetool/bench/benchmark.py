"""Benchmark of all ways to ship a classifier on the same inputs, and the document `bench/2`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.bench.comparison import Comparison, MeasuredWay
from eetool.bench.example_forms import Reread, bench_inputs, example_forms
from eetool.bench.exit_metrics import ExitFigures, exit_figures
from eetool.bench.front import front_marks
from eetool.bench.interleaved_timing import TimingRules
from eetool.bench.offloaded_ways import OffloadBench, OffloadedWays, offloaded_figures
from eetool.bench.predicted_sets import PredictedSets, check_point, chosen_variants, make_sets, predict_sets
from eetool.bench.results import WayRow, WayRun, make_row
from eetool.bench.timing import Timing, time_ways
from eetool.bench.verdict import Verdict, decide_verdict, distrust_accuracies, distrust_times
from eetool.bench.way_sets import WayNotRun
from eetool.bench.ways import EARLY_EXIT
from eetool.data.source import Source, check_classes
from eetool.data.splits import split_record
from eetool.data.vocabulary import use_model_vocabulary
from eetool.errors import UnstableError
from eetool.free_memory import fits_in_memory
from eetool.metrics import is_chance
from eetool.progress import SILENT, Progress
from eetool.targets import is_untimed
from eetool_measure.machine import Machine, read_machine
from eetool_measure.machine_state import read_machine_state
from eetool_measure.stability import MAX_CI95
from eetool_runtime.backends import backend_for
from eetool_runtime.bundle import Bundle
from eetool_runtime.loading import recorded_threads
from eetool_runtime.offload import Offload
from eetool_runtime.preprocess import are_views

SCHEMA = "bench/2"
_NO_LATENCY = "it is of microcontrollers; its accuracy alone: --variant {}"
MAX_ACCURACY_DROP = 1.0  # percentage points, where neither the user nor the bundle gives a limit


@dataclass(frozen=True)
class DataUsed:
    """Examples of the benchmark.

    Attributes:
        source: name of the data.
        split: name of the split.
        n: number of examples.
        sha256: of the split's sorted int64 little-endian indices.
        shape: channels, height and width that images of a folder were brought to; None where they were not.
        fit: how they were, see `eetool_runtime.resize`.
    """

    source: str
    split: str
    n: int
    sha256: str
    shape: tuple[int, ...] | None = None
    fit: str | None = None


@dataclass(frozen=True)
class Bench:
    """The document `bench/2`.

    Attributes:
        ways: one row per way to ship.
        not_run: ways that could not run.
        verdict: on early exit, all ways considered.
        reference: name of the way that ratios and differences of the rows are against.
        bundle: name of the bundle.
        variants: those that took part.
        threads: of every way.
        pool: of the threads.
        engines: version of each engine by name.
        passes: over the timed examples.
        timed: number of examples that were timed; all of them count for accuracies.
        seed: of the choice of examples and of all orders.
        max_accuracy_drop: in percentage points.
        data: the examples.
        machine: the machine.
        graphs_bytes: size of all graph files.
        in_memory_together: whether all graphs were loaded at once.
        labels: names of the classes.
        exits: every exit of the variant of the verdict.
        unstable: reasons to distrust the times. Where they were not accepted, the verdict is that it cannot be told.
        views_timed: whether latencies include the making of each view of a photograph that a call reads behind its
            first; null where the bundle reads photographs in one size.
        offload: ways that ask a server; null without one.
    """

    ways: tuple[WayRow, ...]
    not_run: tuple[WayNotRun, ...]
    verdict: Verdict
    reference: str
    bundle: str
    variants: tuple[str, ...]
    threads: int
    pool: str
    engines: dict[str, str]
    passes: int
    timed: int
    seed: int
    max_accuracy_drop: float
    data: DataUsed
    machine: Machine
    graphs_bytes: int = 0
    in_memory_together: bool = True
    labels: tuple[str, ...] = ()
    exits: tuple[ExitFigures, ...] = ()
    unstable: tuple[str, ...] = ()
    views_timed: bool | None = None
    offload: OffloadBench | None = None

    @property
    def judged_variant(self) -> str:
        """Variant of the early-exit way of the verdict."""
        judged = [way.variant for way in self.ways if way.name == self.verdict.way and way.variant is not None]
        return judged[0] if judged else self.variants[0]


@dataclass(frozen=True)
class BenchRules:
    """Settings of a benchmark.

    Attributes:
        max_accuracy_drop: percentage points that an early-exit way may lose against the reference.
        operating_point: the only one that the verdict considers; None for all.
        variants: those to run; empty for all of the bundle.
        threads: of every way; None for the count that the bundle recorded for this machine, else 1.
        timing: passes, duration and seed.
        accept_unstable: keep unstable times, and note the reasons.
        memory_bytes: memory that may be taken; None for what is free.
        reference: ONNX file or bundle whose network without early exits all ways are compared with; None for that of
            the bundle.
        offload: server that the bundle asks, for ways with one; None without.
    """

    max_accuracy_drop: float
    operating_point: str | None = None
    variants: tuple[str, ...] = ()
    threads: int | None = None
    timing: TimingRules = TimingRules()  # noqa: RUF009 - frozen, so safe to share
    accept_unstable: bool = False
    memory_bytes: int | None = None
    reference: Path | None = None
    offload: Offload | None = None

    def check(self, bundle: Bundle) -> list[str]:
        """Return the variants to run; raise UsageError where the bundle lacks one, or the operating point."""
        variants = chosen_variants(bundle, self.variants)
        check_point(bundle, variants, self.operating_point)
        return variants


def accuracy_limit(bundle: Bundle, max_accuracy_drop: float | None) -> float:
    """Return the given limit, else that of the bundle, else 1 percentage point."""
    recorded = bundle.manifest.max_accuracy_drop
    limit = max_accuracy_drop if max_accuracy_drop is not None else recorded
    return MAX_ACCURACY_DROP if limit is None else limit


def bench_bundle(
    bundle: Bundle,
    source: Source,
    indices: np.ndarray,
    split: str,
    against: Sequence[Path],
    rules: BenchRules,
    progress: Progress = SILENT,
    reread: Reread | None = None,
) -> Bench:
    """Compare all ways to ship `bundle` with each other and with the networks of `against`.

    Args:
        bundle: opened bundle.
        source: data source.
        indices: examples of the source, those of its split `split`.
        split: name of the split.
        against: ONNX files and bundles.
        rules: settings of the benchmark.
        progress: shows the steps.
        reread: reads the source in another form, for networks of `against` that take images of another size.

    Raises:
        UsageError: the bundle lacks a variant or the operating point of `rules`.
        ArtefactError: the bundle has no unsplit reference or takes other inputs, or a network of `against` does not
            fit.
        BackendError: no variant can run here, or not the one that was asked for.
    """
    manifest, variants = bundle.manifest, rules.check(bundle)
    source = use_model_vocabulary(source, manifest.inputs)
    check_classes(source, manifest.labels, str(bundle.path))
    labels, threads = source.labels[indices], rules.threads or recorded_threads(bundle, variants[0])
    forms = example_forms(bundle, source, indices, reread)
    rivals = [*([] if rules.reference is None or rules.reference in against else [rules.reference]), *against]
    sets = make_sets(bundle, variants, forms, rivals, threads, rules.reference)
    if rules.offload is not None:
        inputs = bench_inputs(bundle, forms.examples, forms.files)
        several = len(variants) > 1
        sets += [
            OffloadedWays(bundle, name, inputs, threads, rules.offload, f"{name} " if several else "")
            for name in variants
        ]
    graphs_bytes, throttled = sum(one.graphs_bytes for one in sets), read_machine_state().throttled
    together = fits_in_memory(graphs_bytes, rules.memory_bytes)
    predicted = predict_sets(sets, together, bool(rules.variants), progress, rules.reference)
    if not rules.variants:
        untimed = filter(is_untimed, manifest.variants)
        predicted.not_run += [WayNotRun(name, _NO_LATENCY.format(name)) for name in untimed]
    timing = time_ways(predicted.sets, predicted.ways, together, rules.timing, progress)
    compared = _compare(predicted, timing, labels, rules, throttled or read_machine_state().throttled)
    engines = _engines(predicted)
    return Bench(
        ways=_rows(predicted, compared, labels, (len(manifest.labels), len(manifest.exits))),
        not_run=tuple(predicted.not_run),
        verdict=compared.verdict,
        reference=predicted.reference,
        bundle=manifest.name,
        variants=predicted.variants,
        threads=predicted.threads.count,
        pool=predicted.threads.pool,
        engines=engines,
        passes=timing.passes,
        timed=timing.timed,
        seed=rules.timing.seed,
        max_accuracy_drop=rules.max_accuracy_drop,
        data=data_used(source, split, indices),
        machine=read_machine(*next(iter(engines.items()))),
        graphs_bytes=graphs_bytes,
        in_memory_together=together,
        labels=manifest.labels,
        exits=_exits(predicted, bundle, compared.verdict.way, labels, indices),
        unstable=compared.unstable,
        views_timed=bool(forms.files) if are_views(manifest.inputs) else None,
        offload=None if rules.offload is None else _offloads(rules.offload, predicted, timing, bundle),
    )


def _offloads(offload: Offload, predicted: PredictedSets, timing: Timing, bundle: Bundle) -> OffloadBench:
    means = {name: latency.mean for name, latency in timing.latencies.items()}
    ways = tuple(offloaded_figures(predicted.sets, means, bundle))
    return OffloadBench(offload.endpoint.host_and_port, offload.timeout_ms, offload.fallback, ways)


def stability_problem(bench: Bench, rules: BenchRules) -> UnstableError | None:
    """Return the error of times that scatter too much between the passes, or of a throttled board.

    None where they are steady, or accepted all the same.
    """
    if not bench.unstable or rules.accept_unstable:
        return None
    return UnstableError(
        f"the measurement is unstable: {'; '.join(bench.unstable)}",
        "Stop other programs, cool the board, or give more --passes; --accept-unstable keeps the verdict.",
    )


def data_used(source: Source, split: str, indices: np.ndarray) -> DataUsed:
    """Return the record of the examples of a split."""
    digest = split_record({split: indices})[split].sha256
    shape, fit = (source.inputs.shape[1:], source.resize.fit) if source.resize is not None else (None, None)
    return DataUsed(source.name, split, len(indices), digest, shape, fit)


@dataclass(frozen=True)
class _Compared:
    """Measured ways by name, the verdict on them, and what made their times unstable."""

    ways: dict[str, MeasuredWay]
    verdict: Verdict
    unstable: tuple[str, ...]


def _compare(
    predicted: PredictedSets, timing: Timing, labels: np.ndarray, rules: BenchRules, throttled: bool | None
) -> _Compared:
    ways = {
        name: MeasuredWay(
            name, label.kind == EARLY_EXIT, answers.classes, answers.classes == labels, timing.latencies[name]
        )
        for name, label in predicted.labels.items()
        for answers in (predicted.ways[name],)
    }
    judged = predicted.judged(rules.operating_point)
    reference = ways[predicted.reference]
    verdict = decide_verdict(list(ways.values()), reference, judged, rules.max_accuracy_drop)
    pairs = [Comparison(ways[verdict.way], other) for other in (reference, ways[verdict.against])]
    unstable = _unstable(pairs, throttled)
    if unstable and not rules.accept_unstable:
        verdict = distrust_times(verdict, unstable)
    if is_chance(reference.right, labels):
        verdict = distrust_accuracies(verdict, reference)
    return _Compared(ways, verdict, unstable)


def _unstable(pairs: Sequence[Comparison], throttled: bool | None) -> tuple[str, ...]:
    """Return reasons to refuse the times, as `profile` refuses them; two passes are too few to tell."""
    reasons = ["the board was slowed down by heat or a weak supply"] if throttled else []
    noise = max(pair.noise for pair in pairs)
    if len(pairs[0].way.latency.pass_ms) > 2 and noise > MAX_CI95:
        reasons.append(f"the passes give the latency ratio to ±{noise:.0%} only")
    return tuple(reasons)


def _rows(
    predicted: PredictedSets, compared: _Compared, labels: np.ndarray, shape: tuple[int, int]
) -> tuple[WayRow, ...]:
    ways, reference = compared.ways, compared.ways[predicted.reference]
    marks = front_marks(list(ways.values()))
    runs = {
        name: WayRun(label, predicted.ways[name], Comparison(ways[name], reference))
        for name, label in predicted.labels.items()
    }
    return tuple(make_row(run, runs[reference.name], marks[name], labels, shape) for name, run in runs.items())


def _exits(
    predicted: PredictedSets, bundle: Bundle, name: str, labels: np.ndarray, indices: np.ndarray
) -> tuple[ExitFigures, ...]:
    """Return metrics of the exits of the variant that the way `name` is of."""
    variant, point = str(predicted.labels[name].variant), str(predicted.labels[name].operating_point)
    thresholds = bundle.variant(variant).operating_points[point].thresholds
    return exit_figures(predicted.exits[variant], labels, indices, thresholds)


def _engines(predicted: PredictedSets) -> dict[str, str]:
    """Return the version of each engine that ran, by name."""
    backends = map(backend_for, dict.fromkeys(one.format for one in predicted.sets))
    return {backend.name: backend.version for backend in backends}
