"""Fit of stream policies on whole sequences of the held-out groups, with figures for groups that are new.

A policy looks better on the groups that it was chosen on than on others. So calibration and choice are repeated without
one group after another, and each repetition is judged on the group that it left out, as `eetool.tune.cross_fitting`
does with examples. Drops are against full depth with an answer per frame. Intervals resample whole groups.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eetool.data.sequences import GAP_PERIODS, Sequences
from eetool.data.source import Source
from eetool.data.splits import HELD_OUT, TEMPERATURE, THRESHOLD, TRAIN, recorded_split
from eetool.data.views import take_examples
from eetool.errors import BudgetError, UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.goals import TuningGoals
from eetool.model.spec import ExpectedDrop, StreamFit
from eetool.progress import Progress
from eetool.tune.calibration import fit_temperature
from eetool.tune.outputs import Answers, predict_in_chunks
from eetool.tune.point_names import STREAM_FULL, stream_drop_limits
from eetool.tune.stream_figures import (
    Frames,
    checked_frames,
    false_switches_per_minute,
    group_interval,
    percentile_s,
    reactions_s,
    right_answers,
    running_exits,
)
from eetool.tune.stream_search import StreamLimits, StreamSearch
from eetool.tune.stream_simulation import simulate
from eetool.wording import counted
from eetool_runtime.manifest import Data, ReachedConfidence, Stream, StreamExpected, StreamPoint, StreamPolicy
from eetool_runtime.stream_filter import calibrated

_FEW_GROUPS = 5
_LEAST_RATE = 1e-4  # of a class that training has few examples of
_HINT = (
    "Streams need examples in order: npz: with sequence and group, signal: or frames:, and four groups or more "
    "(docs/howto/streams.md)."
)


@dataclass(frozen=True)
class StreamCosts:
    """Costs that policies minimise, and MACs for the expected figures."""

    minimised: CascadeCosts
    macs: CascadeCosts


@dataclass(frozen=True)
class _HeldOut:
    """Logits (exits, N, K) of the held-out frames, and what does not depend on the calibration."""

    logits: np.ndarray
    frames: Frames  # without probabilities

    def calibrated(self, temperatures: Sequence[float], groups: np.ndarray) -> Frames:
        """Return the frames of these groups with calibrated probabilities."""
        return _with_probabilities(self.frames, self.logits, temperatures).of_groups(groups)

    def temperatures(self, groups: np.ndarray) -> tuple[float, ...]:
        """Return temperatures fitted on the frames of these groups."""
        rows = np.isin(self.frames.groups, groups)
        return tuple(fit_temperature(logits[rows], self.frames.labels[rows]) for logits in self.logits)


def _with_probabilities(frames: Frames, logits: np.ndarray, temperatures: Sequence[float]) -> Frames:
    """Return frames with the probabilities of logits (exits, N, K)."""
    exits = [calibrated(own, temperature) for own, temperature in zip(logits, temperatures, strict=True)]
    return Frames(np.stack(exits, 1), frames.labels, frames.starts, frames.groups, frames.period_s)


def require_order(source: Source) -> tuple[Sequences, float]:
    """Return the order of a source's examples, and the period of a frame.

    Raises:
        UsageError: it has none, or the period is not known.
    """
    if source.order is None:
        raise UsageError(f"{source.name} has no sequences, so --stream has nothing to fit", _HINT)
    if source.order.period_s is None:
        raise UsageError(
            f"{source.name} has no times, so no reaction is known in seconds",
            "Store period_s or time_s in the archive, or fps in labels.csv.",
        )
    return source.order, source.order.period_s


def fit_streams(
    source: Source,
    data: Data | None,
    answers_of: Answers,
    temperatures: Sequence[float],
    costs: StreamCosts,
    goals: TuningGoals,
    progress: Progress,
) -> tuple[StreamFit, tuple[str, ...]]:
    """Return operating points for streams, and warnings.

    Args:
        source: examples in order, in groups.
        data: the data that the model records.
        answers_of: maps examples to the model's outputs.
        temperatures: of the policy that the points belong to.
        costs: costs of the cascade.
        goals: limits of the points; `max_reaction_s` is that of the reaction.
        progress: observer.

    Raises:
        UsageError: the source has no sequences, or too few groups.
        BudgetError: no policy reacts in time.
    """
    assert goals.max_reaction_s is not None
    held = _predict(source, data, answers_of, progress)
    training = source.labels[recorded_split(source, TRAIN, data)]
    counts = np.bincount(training, minlength=len(source.classes)) / max(len(training), 1)
    base_rates = np.maximum(counts, _LEAST_RATE)
    base_rates = base_rates / base_rates.sum()
    groups = np.unique(held.frames.groups)
    whole = StreamSearch(held.calibrated(temperatures, groups), base_rates, costs.minimised)
    with progress("stream policies, by group", 1 + len(groups)) as advance:
        chosen = _choose(whole, goals)
        _require_reaction(whole, chosen, goals)
        advance(1)
        repetitions = []
        for group in groups.tolist():
            rest = groups[groups != group]
            fitted = held.temperatures(rest)
            search = StreamSearch(held.calibrated(fitted, rest), base_rates, costs.minimised)
            repetitions.append(_Repetition(search, _choose(search, goals), held.calibrated(fitted, np.array([group]))))
            advance(1)
    points, drops = {}, {}
    for name, policy in chosen.items():
        expected, drops[name] = _expected(name, policy, whole, repetitions, costs.macs)
        points[name] = StreamPoint(replace(policy, gap_s=GAP_PERIODS * whole.frames.period_s), expected)
    fit = StreamFit(
        whole.frames.period_s, tuple(base_rates.tolist()), _default(whole, chosen, drops, goals), points, drops
    )
    return fit, tuple(_warnings(fit, goals, len(groups)))


def stream_block(fit: StreamFit, points: Mapping[str, dict[str, StreamPoint]], earlier: Stream | None = None) -> Stream:
    """Return the block of a manifest, with these points by variant in place of earlier ones."""
    before = {} if earlier is None else earlier.operating_points
    return Stream(fit.period_s, fit.base_rates, fit.default, {**before, **points})


@dataclass(frozen=True)
class _Repetition:
    """Policies chosen without one group, whose frames are `left_out`."""

    search: StreamSearch
    chosen: Mapping[str, StreamPolicy]
    left_out: Frames

    def answers(self, name: str) -> np.ndarray:
        """Return the answers (n,) of a policy to the frames that were left out."""
        policy, frames = self.chosen[name], self.left_out
        decided = simulate([policy], frames.probabilities, frames.starts, self.search.base_rates)
        answers: np.ndarray = decided.labels[0]
        return answers


def _predict(source: Source, data: Data | None, answers_of: Answers, progress: Progress) -> _HeldOut:
    order, period_s = require_order(source)
    parts = {name: recorded_split(source, name, data) for name in (TRAIN, TEMPERATURE, THRESHOLD)}
    indices = np.sort(np.concatenate([parts[TEMPERATURE], parts[THRESHOLD]]))
    shared = np.intersect1d(order.group[parts[TRAIN]], order.group[indices])
    if len(shared) or len(np.unique(order.group[indices])) < 2:
        raise UsageError(
            f"{source.name} has {counted(len(order.groups), 'group')}: too few to leave whole ones out of training, "
            "and frames of one group are alike",
            _HINT,
        )
    with progress(f"answers, {HELD_OUT} splits", len(indices)) as advance:
        logits, _ = predict_in_chunks(answers_of, take_examples(source, indices), advance)
    nothing = np.zeros((len(indices), 0, 0))
    labels, starts = source.labels[indices], order.starts(indices)
    return _HeldOut(logits, Frames(nothing, labels, starts, order.group[indices], period_s))


def held_out_frames(
    source: Source, data: Data | None, answers_of: Answers, temperatures: Sequence[float], progress: Progress
) -> Frames:
    """Return the frames that policies are fitted on, with probabilities; see `fit_streams`."""
    held = _predict(source, data, answers_of, progress)
    return held.calibrated(temperatures, np.unique(held.frames.groups))


def _choose(search: StreamSearch, goals: TuningGoals) -> dict[str, StreamPolicy]:
    assert goals.max_reaction_s is not None
    reaction = goals.max_reaction_s
    chosen = {STREAM_FULL: search.most_accurate(reaction)}
    for name, drop in stream_drop_limits(goals.max_accuracy_drop).items():
        chosen[name] = search.cheapest(StreamLimits(drop, reaction, goals.standard_errors))
    return chosen


def _require_reaction(search: StreamSearch, chosen: Mapping[str, StreamPolicy], goals: TuningGoals) -> None:
    assert goals.max_reaction_s is not None
    nearest = float(search.judge(list(chosen.values())).reactions_s.min())
    if nearest > goals.max_reaction_s + 1e-9:
        raise BudgetError(
            f"no policy reacts within {goals.max_reaction_s:g} s in 95 % of changes; the nearest takes {nearest:.3g} "
            f"s, full depth with an answer per frame {search.full_reaction_s:.3g} s",
            f"--max-reaction-s {math.ceil(10 * nearest) / 10:g} is the least. Or train the network longer.",
        )


def _expected(
    name: str, policy: StreamPolicy, whole: StreamSearch, repetitions: Sequence[_Repetition], macs: CascadeCosts
) -> tuple[StreamExpected, ExpectedDrop]:
    """Return the figures of a policy for new groups, and its accuracy drop."""
    frames = whole.frames
    seen = 100 * (whole.full_accuracy - whole.judge([policy]).accuracies[0])
    n, folds = len(frames.labels), len(repetitions)
    answers = [repetition.answers(name) for repetition in repetitions]
    right = np.concatenate([right_answers(r.left_out, own) for r, own in zip(repetitions, answers, strict=True)])
    full = np.concatenate([right_answers(r.left_out, r.left_out.probabilities[:, -1].argmax(1)) for r in repetitions])
    groups = np.concatenate([r.left_out.groups for r in repetitions])
    outside = 100 * float(full.mean() - right.mean())
    inside = sum(
        100 * (r.search.full_accuracy - r.search.judge([r.chosen[name]]).accuracies[0]) * len(r.search.frames.labels)
        for r in repetitions
    ) / (n * (folds - 1))
    optimism = (outside - inside) * math.sqrt(1 - 1 / folds)
    move = seen + optimism - outside
    low, high = (min(max(100 * end + move, -100.0), 100.0) for end in group_interval(groups, full, right))
    seconds = np.concatenate([reactions_s(r.left_out, own) for r, own in zip(repetitions, answers, strict=True)])
    switches = sum(
        float(false_switches_per_minute(r.left_out, own)) * len(own)
        for r, own in zip(repetitions, answers, strict=True)
    )
    decided = simulate([policy], frames.probabilities, frames.starts, whole.base_rates)
    exits, final = decided.exits[0], len(policy.thresholds)
    shares = np.bincount(np.where(exits < 0, final, exits), minlength=final + 1) / n
    own = StreamSearch(frames, whole.base_rates, macs).judge([policy])
    expected = StreamExpected(
        split=HELD_OUT,
        n=n,
        sequences=int(frames.starts.sum()),
        accuracy=min(max(whole.full_accuracy - (seen + optimism) / 100, 0.0), 1.0),
        exit_shares=tuple(shares.tolist()),
        mean_macs=float(own.costs[0]),
        reached=_reached(policy, frames, exits),
        reaction_mean_s=float(seconds.mean()) if len(seconds) else None,
        reaction_p95_s=float(percentile_s(seconds)) if len(seconds) else None,
        false_switches_per_minute=switches / n,
    )
    return expected, ExpectedDrop(seen + optimism, (low, high), optimism)


def _reached(policy: StreamPolicy, frames: Frames, exits: np.ndarray) -> tuple[ReachedConfidence | None, ...]:
    """Return the largest probabilities of each exit on the frames that it saw."""
    checked = checked_frames(policy, frames, exits)
    reached: list[ReachedConfidence | None] = []
    for k, runs in enumerate([*running_exits(policy), True]):
        saw = (exits >= k) & (~checked | (k == len(policy.thresholds)))
        confidence = frames.probabilities[saw, k].max(1)
        known = runs and len(confidence) > 0
        figures = (len(confidence), float(confidence.mean()), float(confidence.std())) if known else None
        reached.append(None if figures is None else ReachedConfidence(*figures))
    return tuple(reached)


def _default(
    whole: StreamSearch, chosen: Mapping[str, StreamPolicy], drops: Mapping[str, ExpectedDrop], goals: TuningGoals
) -> str:
    """Return the cheapest point that keeps the drop on new groups, as expected; else full depth."""
    costs = dict(zip(chosen, whole.judge(list(chosen.values())).costs.tolist(), strict=True))
    kept = [name for name in chosen if drops[name].points <= goals.max_accuracy_drop]
    return min(kept, key=costs.__getitem__, default=STREAM_FULL)


def _warnings(fit: StreamFit, goals: TuningGoals, groups: int) -> list[str]:
    assert goals.max_reaction_s is not None
    lines = []
    if groups < _FEW_GROUPS:
        lines.append(f"streams were fitted on {groups} groups: their intervals are rough, and more groups narrow them")
    for name, point in fit.points.items():
        late = point.expected.reaction_p95_s if point.expected is not None else None
        if late is not None and late > goals.max_reaction_s:
            lines.append(
                f"`{name}` reacts within {late:.3g} s in 95 % of changes on groups that it was not fitted on, where "
                f"{goals.max_reaction_s:g} s were asked"
            )
    return lines
