"""Choices of `benchmarks/streams.py`: a policy of every kind within the same limits, and its figures on new groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from stream_cases import Case, joined

from eetool.tune.moving_average import AveragePolicy
from eetool.tune.stream_figures import (
    Frames,
    false_switches_per_minute,
    group_interval,
    mean_costs,
    percentile_s,
    reactions_s,
)
from eetool.tune.stream_rivals import Policy, RivalSearch, decide
from eetool.tune.stream_search import StreamLimits
from eetool_runtime.manifest import StreamPolicy

Choice = dict[str, dict[str, Policy]]  # of a case, by the limit of the reaction and the kind
_RECOGNISED = 0.5  # share of right answers from which on a segment counts as recognised


def choose(case: Case, limits_s: Sequence[float]) -> Choice:
    """Return policies of the least MACs, chosen on the frames that the case is not judged on."""
    search = RivalSearch(case.fit, case.base_rates, case.costs)
    return {f"{limit:g}": search.choose(StreamLimits(0.0, limit)) for limit in limits_s}


def as_data(choice: Choice) -> dict[str, Any]:
    """Return policies as values of JSON."""
    return {limit: {kind: vars(policy) for kind, policy in own.items()} for limit, own in choice.items()}


def from_data(stored: Mapping[str, Any]) -> Choice:
    """Return the policies that `as_data` stored."""
    return {limit: {kind: _policy(values) for kind, values in own.items()} for limit, own in stored.items()}


def _policy(values: Mapping[str, Any]) -> Policy:
    given = {**values, "thresholds": tuple(values["thresholds"])}
    return AveragePolicy(**given) if "weight" in given else StreamPolicy(**given)


def describe(case: Case) -> dict[str, Any]:
    """Return sizes of a case, and the accuracy of every exit alone."""
    test, fit = case.test, case.fit
    return {
        "name": case.name,
        "frames": {"choice": len(fit.labels), "report": len(test.labels)},
        "groups": {"choice": len(np.unique(fit.groups)), "report": len(np.unique(test.groups))},
        "changes": {"choice": _changes(fit), "report": _changes(test)},
        "period_s": test.period_s,
        "exit_accuracy": (test.probabilities.argmax(2) == test.labels[:, None]).mean(0).tolist(),
        "full_macs": case.full_macs,
        "missed_segments": missed_segments(test),
    }


def _changes(frames: Frames) -> int:
    return int(reactions_s(frames, frames.labels).shape[-1])


def missed_segments(frames: Frames) -> dict[str, int]:
    """Return how many segments of one class full depth recognises in less than half of the frames, and of how many."""
    right = frames.probabilities[:, -1].argmax(1) == frames.labels
    firsts = frames.segments
    shares = np.add.reduceat(right, firsts) / np.diff(np.append(firsts, len(right)))
    return {"missed": int((shares < _RECOGNISED).sum()), "segments": len(firsts)}


def simulated(cases: Sequence[Case], policies: Sequence[Mapping[str, Policy]]) -> dict[str, Any]:
    """Return figures over the frames of all cases by kind; costs are MACs against full depth."""
    rows = {}
    for kind in policies[0]:
        decided = [decide(own[kind], case.test, case.base_rates) for case, own in zip(cases, policies, strict=True)]
        ratios = [
            mean_costs([own[kind]], case.test, one.exits, case.costs)[0] / case.full_macs
            for case, own, one in zip(cases, policies, decided, strict=True)
        ]
        sizes = [len(case.test.labels) for case in cases]
        rows[kind] = {
            **pooled(cases, [one.labels[0] for one in decided]),
            "mac_ratio": float(np.average(ratios, weights=sizes)),
        }
    return rows


def pooled(cases: Sequence[Case], answers: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return accuracy, its difference from full depth per frame with an interval by groups, reactions, and switches."""
    right = np.concatenate([a == c.test.labels for a, c in zip(answers, cases, strict=True)])
    full = np.concatenate([c.test.probabilities[:, -1].argmax(1) == c.test.labels for c in cases])
    groups = joined([case.test for case in cases]).groups
    seconds = np.concatenate([reactions_s(c.test, a) for c, a in zip(cases, answers, strict=True)])
    low, high = group_interval(groups, right, full)
    switches = [float(false_switches_per_minute(c.test, a)) for c, a in zip(cases, answers, strict=True)]
    return {
        "accuracy": float(right.mean()),
        "accuracy_difference": 100 * float(right.mean() - full.mean()),
        "accuracy_difference_ci95": [100 * low, 100 * high],
        "reaction_mean_s": float(seconds.mean()),
        "reaction_p95_s": float(percentile_s(seconds)),
        "false_switches_per_minute": float(np.average(switches, weights=[len(a) for a in answers])),
    }
