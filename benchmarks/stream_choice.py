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
from eetool.tune.stream_rivals import AVERAGE, DIFFERENCE, FILTER, Policy, RivalSearch, decide
from eetool.tune.stream_search import StreamLimits
from eetool_runtime.manifest import StreamPolicy

Choice = dict[str, dict[str, Policy]]  # of a case, by the limit of the reaction and the kind
_RECOGNISED = 0.5  # share of right answers from which on a segment counts as recognised


def choose(case: Case, limits_s: Sequence[float], max_accuracy_drop: float = 0.0) -> Choice:
    """Return policies of the least MACs, chosen on the frames that the case is not judged on."""
    search = RivalSearch(case.fit, case.base_rates, case.costs)
    return {f"{limit:g}": search.choose(StreamLimits(max_accuracy_drop, limit)) for limit in limits_s}


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
        "exit_accuracy": _exit_accuracy(test),
        "exit_accuracy_of_choice": _exit_accuracy(fit),
        "full_macs": case.full_macs,
        "missed_segments": missed_segments(test),
    }


def _exit_accuracy(frames: Frames) -> list[float]:
    accuracy: list[float] = (frames.probabilities.argmax(2) == frames.labels[:, None]).mean(0).tolist()
    return accuracy


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


def cut_networks(cases: Sequence[Case]) -> dict[str, Any]:
    """Return figures of networks that end at one of the early exits, with an answer per frame."""
    early = cases[0].test.probabilities.shape[1] - 1
    ways: dict[str, Policy] = {
        f"exit {k} alone": StreamPolicy(1.0, tuple(0.0 if i == k else None for i in range(early)), agree=False)
        for k in range(early)
    }
    return simulated(cases, [ways] * len(cases))


def in_hindsight(cases: Sequence[Case], limits_s: Sequence[float]) -> dict[str, Any]:
    """Return figures of policies that are chosen on the very frames that they are judged on, one for all cases.

    They are no forecast: they say what the networks would allow, and compare ways at equal reactions.
    """
    costs, rates = cases[0].costs, np.mean([case.base_rates for case in cases], axis=0)
    search = RivalSearch(joined([case.test for case in cases]), rates, costs)
    rows = {}
    for limit in limits_s:
        policies = search.choose(StreamLimits(0.0, limit, standard_errors=0.0), (FILTER, AVERAGE, DIFFERENCE))
        rows[f"{limit:g}"] = simulated(cases, [policies] * len(cases))
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
