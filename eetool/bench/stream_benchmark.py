"""Benchmark of the ways to answer streams, on whole sequences in order, and the document `stream_bench/1`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eetool.bench.benchmark import BenchRules, DataUsed, data_used
from eetool.bench.intervals import input_half_width, pass_half_width, ratio_interval
from eetool.bench.results import LatencySummary
from eetool.bench.stream_timing import FrameWay, StreamTimes, time_streams
from eetool.bench.stream_verdict import StreamClaim, StreamVerdict, judge_streams
from eetool.bench.stream_ways import AverageFrames, FilterFrames, GatedFrames, open_stream_model
from eetool.data.source import Source, check_classes
from eetool.data.views import inputs_by_name, take_examples
from eetool.data.vocabulary import use_model_vocabulary
from eetool.errors import UnstableError, UsageError
from eetool.export.bundle_files import read_goals
from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.progress import SILENT, Progress
from eetool.tune.calibration import Calibration
from eetool.tune.fit_streams import held_out_frames, require_order
from eetool.tune.moving_average import AveragePolicy
from eetool.tune.outputs import runtime_answers
from eetool.tune.stream_figures import (
    Frames,
    false_switches_per_minute,
    frame_costs,
    group_interval,
    percentile_s,
    reactions_s,
)
from eetool.tune.stream_rivals import AVERAGE, DIFFERENCE, FULL_DEPTH, GATES, Policy, RivalSearch, full_depth
from eetool.tune.stream_search import StreamLimits
from eetool_measure.machine import Machine, read_machine
from eetool_measure.machine_state import read_machine_state
from eetool_measure.stability import MAX_CI95
from eetool_runtime.backends import backend_for
from eetool_runtime.bundle import Bundle
from eetool_runtime.loading import load_to_judge, recorded_threads
from eetool_runtime.manifest import Manifest, StreamPolicy

SCHEMA = "stream_bench/1"
FULL, STREAM, POINT, RIVAL = "full_depth", "stream", "early_exit", "rival"
_RIVALS = (GATES, AVERAGE, DIFFERENCE)


@dataclass(frozen=True)
class StreamRow:
    """Figures of one way on `n` frames; those against full depth per frame are 1, 0 and their intervals for itself.

    Attributes:
        kind: `full_depth`, an answer per frame or with a filter; `stream`, a point for streams of the bundle;
            `early_exit`, an operating point without memory; or `rival`, whose parameters were chosen on the held-out
            groups within the same limits.
        policy: its parameters; null for an operating point without memory.
        accuracy_difference: accuracy less that of full depth, in percentage points; its interval resamples groups.
        reaction_mean_s: null where no class changes.
        exit_shares: share of the frames that left at each exit.
        mean_macs: of everything that ran.
    """

    name: str
    kind: str
    policy: dict[str, Any] | None
    accuracy: float
    accuracy_difference: float
    accuracy_difference_ci95: tuple[float, ...]
    n: int
    latency_ms: LatencySummary
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    reaction_mean_s: float | None
    reaction_p95_s: float | None
    false_switches_per_minute: float
    exit_shares: tuple[float, ...]
    mean_macs: float


@dataclass(frozen=True)
class StreamBench:
    """The document `stream_bench/1`.

    Attributes:
        ways: one row per way.
        verdict: on the points for streams.
        bundle: its name.
        variant: the variant that ran.
        data: the frames.
        sequences: their number.
        groups: names of the groups.
        changes: number of changes of the class within sequences.
        period_s: seconds from one frame to the next.
        max_accuracy_drop: percentage points.
        max_reaction_s: limit of the 95th percentile of the reaction.
        threads: of every way.
        passes: over all frames.
        engine: name and version.
        machine: the machine.
        unstable: reasons to distrust the times.
    """

    ways: tuple[StreamRow, ...]
    verdict: StreamVerdict
    bundle: str
    variant: str
    data: DataUsed
    sequences: int
    groups: tuple[str, ...]
    changes: int
    period_s: float
    max_accuracy_drop: float
    max_reaction_s: float
    threads: int
    passes: int
    engine: dict[str, str]
    machine: Machine
    unstable: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Contender:
    """A way with its kind, and its policy where it has one."""

    way: FrameWay
    kind: str
    policy: Policy | None
    thresholds: tuple[float | None, ...]


def bench_streams(
    bundle: Bundle,
    source: Source,
    indices: np.ndarray,
    split: str,
    rules: BenchRules,
    max_reaction_s: float | None = None,
    progress: Progress = SILENT,
) -> StreamBench:
    """Let all ways answer the sequences of a split in order.

    Args:
        bundle: with operating points for streams.
        source: data source with sequences.
        indices: examples of its split.
        split: name of the split.
        rules: settings; of the variants the first one runs.
        max_reaction_s: limit; by default that of the bundle's goals.
        progress: shows the steps.

    Raises:
        UsageError: the bundle has no points for streams, the source no sequences, or no limit is known.
    """
    manifest = bundle.manifest
    variant = rules.check(bundle)[0]
    if manifest.stream is None or variant not in manifest.stream.operating_points:
        raise UsageError(
            f"{bundle.path}: {variant} has no operating points for streams",
            "Fit them: eetool tune BUNDLE --data SOURCE --stream --force.",
        )
    source = use_model_vocabulary(source, manifest.inputs)
    check_classes(source, manifest.labels, str(bundle.path))
    limits = _limits(bundle, rules, max_reaction_s)
    order, period_s = require_order(source)
    indices = np.sort(indices)
    starts = order.starts(indices)
    frames = Frames(np.zeros((len(indices), 0, 0)), source.labels[indices], starts, order.group[indices], period_s)
    threads = rules.threads or recorded_threads(bundle, variant)
    contenders = _contenders(bundle, variant, source, indices, limits, threads, split, progress)
    passes, throttled = max(2, rules.timing.passes), read_machine_state().throttled
    times = time_streams([one.way for one in contenders], starts, passes, rules.timing.seed, progress)
    rows = _rows(contenders, times, frames, manifest)
    names = {row.name: row.kind for row in rows}
    groups = np.unique(frames.groups).tolist()
    claims = {row.name: _claim(row, len(groups)) for row in rows}
    verdict = judge_streams(
        [claims[name] for name, kind in names.items() if kind == STREAM],
        [claims[name] for name, kind in names.items() if kind != STREAM],
        limits.max_accuracy_drop,
        limits.max_reaction_s,
    )
    backend = backend_for(variant.split("/")[0])
    return StreamBench(
        ways=tuple(rows),
        verdict=verdict,
        bundle=manifest.name,
        variant=variant,
        data=data_used(source, split, indices),
        sequences=int(starts.sum()),
        groups=tuple(order.groups[g] for g in groups),
        changes=reactions_s(frames, frames.labels).shape[-1],
        period_s=period_s,
        max_accuracy_drop=limits.max_accuracy_drop,
        max_reaction_s=limits.max_reaction_s,
        threads=threads,
        passes=passes,
        engine={backend.name: backend.version},
        machine=read_machine(backend.name, backend.version),
        unstable=_unstable(times, throttled or read_machine_state().throttled),
    )


def stream_problem(bench: StreamBench, rules: BenchRules) -> UnstableError | None:
    """Return the error of times that cannot be trusted; None where they are steady, or accepted all the same."""
    if not bench.unstable or rules.accept_unstable:
        return None
    return UnstableError(
        f"the measurement is unstable: {'; '.join(bench.unstable)}",
        "Stop other programs, cool the board, or give more --passes; --accept-unstable keeps the times.",
    )


def _unstable(times: Mapping[str, StreamTimes], throttled: bool | None) -> tuple[str, ...]:
    reasons = ["the board was slowed down by heat or a weak supply"] if throttled else []
    reference = times[FULL_DEPTH].pass_ms
    noise = max(pass_half_width(one.pass_ms, reference) for name, one in times.items() if name != FULL_DEPTH)
    if len(reference) > 2 and noise > MAX_CI95:
        reasons.append(f"the passes give the latency ratio to ±{noise:.0%} only")
    return tuple(reasons)


def _limits(bundle: Bundle, rules: BenchRules, max_reaction_s: float | None) -> StreamLimits:
    goals = read_goals(bundle)
    recorded = None if goals is None else goals.max_reaction_s
    reaction = recorded if max_reaction_s is None else max_reaction_s
    if reaction is None:
        raise UsageError("the bundle records no reaction time as its goal", "Give --max-reaction-s.")
    margin = 1.0 if goals is None else goals.standard_errors
    return StreamLimits(rules.max_accuracy_drop, reaction, margin)


def _contenders(
    bundle: Bundle,
    variant: str,
    source: Source,
    indices: np.ndarray,
    limits: StreamLimits,
    threads: int,
    split: str,
    progress: Progress,
) -> list[_Contender]:
    """Return the ways, ready to run."""
    manifest = bundle.manifest
    stream = manifest.stream
    assert stream is not None
    examples = take_examples(source, indices)
    model = open_stream_model(bundle, variant, threads)

    def inputs(index: int) -> dict[str, np.ndarray]:
        return inputs_by_name(examples[index : index + 1], manifest.inputs)

    base_rates = np.array(stream.base_rates)
    early = manifest.n_early_exits
    policies: dict[str, tuple[str, Policy]] = {FULL_DEPTH: (FULL, full_depth(early))}
    for name, point in stream.operating_points[variant].items():
        policies[name] = (FULL if not any(t is not None for t in point.policy.thresholds) else STREAM, point.policy)
    if split != "new":
        policies |= {name: (RIVAL, p) for name, p in _rivals(bundle, variant, source, limits, progress).items()}
    contenders = []
    for name, (kind, policy) in policies.items():
        ways: Callable[..., FrameWay] = AverageFrames if isinstance(policy, AveragePolicy) else FilterFrames
        contenders.append(_Contender(ways(name, model, policy, base_rates, inputs), kind, policy, policy.thresholds))
    for name, plain in bundle.variant(variant).operating_points.items():
        if any(t is not None for t in plain.thresholds):
            contenders.append(_Contender(GatedFrames(name, model, inputs), POINT, None, plain.thresholds))
    return contenders


def _rivals(
    bundle: Bundle, variant: str, source: Source, limits: StreamLimits, progress: Progress
) -> Mapping[str, Policy]:
    """Return the rivals, with parameters chosen within the limits on the groups that the bundle's points used."""
    manifest, stream = bundle.manifest, bundle.manifest.stream
    assert stream is not None
    fitted = bundle.variant(variant)
    calibration = Calibration(fitted.temperatures, fitted.slopes, fitted.offsets)
    answers = runtime_answers(load_to_judge(bundle, variant=variant), calibration)
    frames = held_out_frames(source, manifest.data, answers, fitted.temperatures, progress)
    search = RivalSearch(frames, np.array(stream.base_rates), _macs(manifest))
    return search.choose(limits, _RIVALS)


def _rows(
    contenders: Sequence[_Contender], times: Mapping[str, StreamTimes], frames: Frames, manifest: Manifest
) -> list[StreamRow]:
    costs, reference = _macs(manifest), times[FULL_DEPTH]
    full_right = reference.labels == frames.labels
    rows = []
    for one in contenders:
        own = times[one.way.name]
        right = own.labels == frames.labels
        low, high = group_interval(frames.groups, right, full_right)
        seconds = reactions_s(frames, own.labels)
        policy = one.policy or StreamPolicy(1.0, one.thresholds)
        is_reference = one.way.name == FULL_DEPTH
        ratio = float(own.latency_ms.mean() / reference.latency_ms.mean())
        halves = (
            input_half_width(own.latency_ms, reference.latency_ms),
            pass_half_width(own.pass_ms, reference.pass_ms),
        )
        p50, p99 = np.percentile(own.latency_ms, (50, 99)).tolist()
        rows.append(
            StreamRow(
                name=one.way.name,
                kind=one.kind,
                policy=None if one.policy is None else dict(vars(one.policy)),
                accuracy=float(right.mean()),
                accuracy_difference=100 * float(right.mean() - full_right.mean()),
                accuracy_difference_ci95=(100 * low, 100 * high),
                n=len(right),
                latency_ms=LatencySummary(float(own.latency_ms.mean()), p50, p99),
                latency_ratio=ratio,
                latency_ratio_ci95=(1.0, 1.0) if is_reference else ratio_interval(ratio, *halves),
                reaction_mean_s=float(seconds.mean()) if len(seconds) else None,
                reaction_p95_s=float(percentile_s(seconds)) if len(seconds) else None,
                false_switches_per_minute=float(false_switches_per_minute(frames, own.labels)),
                exit_shares=tuple((np.bincount(own.exits, minlength=len(manifest.exits)) / len(right)).tolist()),
                mean_macs=float(frame_costs(policy, frames, own.exits, costs).mean()),
            )
        )
    return rows


def _macs(manifest: Manifest) -> CascadeCosts:
    """Return the MACs of a bundle's components, arranged by exit."""
    return layout_of_manifest(manifest).arrange({c.name: float(c.macs) for c in manifest.components})


def _claim(row: StreamRow, groups: int) -> StreamClaim:
    (low, high), (worst, best) = row.latency_ratio_ci95, row.accuracy_difference_ci95
    return StreamClaim(
        row.name, row.latency_ratio, (low, high), row.accuracy_difference, (worst, best), row.reaction_p95_s, groups
    )
