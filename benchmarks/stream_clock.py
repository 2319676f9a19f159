"""Latencies of `benchmarks/streams.py`: all ways on all frames, interleaved; answers are the runtime's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stream_cases import Case
from stream_choice import Choice, pooled

from eetool.bench.stream_timing import StreamTimes
from eetool.tune.stream_rivals import FULL_DEPTH, Policy, decide


def clocked(cases: Sequence[Case], choices: Sequence[Choice], passes: int, frames: int | None = None) -> dict[str, Any]:
    """Return latencies over all cases, by the limit of the reaction and the kind.

    Args:
        cases: networks and frames.
        choices: policies of each case.
        passes: over the frames.
        frames: so many of each case; None for all, of which accuracy and reaction are returned as well.
    """
    named = {
        (limit, kind): tuple(own[limit][kind] for own in choices)
        for limit, kinds in choices[0].items()
        for kind in kinds
    }
    names = {policies: str(number) for number, policies in enumerate(dict.fromkeys(named.values()))}  # each timed once
    timed = [
        case.time({name: policies[i] for policies, name in names.items()}, passes, frames)
        for i, case in enumerate(cases)
    ]
    rows: dict[str, dict[str, Any]] = {}
    for (limit, kind), policies in named.items():
        reference, own = ([one[names[p]] for one in timed] for p in (named[limit, FULL_DEPTH], policies))
        row = {**_latency(own, reference), "same_answers": _same(policies, own, cases)}
        if frames is None:
            row |= pooled(cases, [one.labels for one in own])
        rows.setdefault(limit, {})[kind] = row
    return {"passes": passes, "frames": frames, "ways": rows}


def _latency(own: Sequence[StreamTimes], reference: Sequence[StreamTimes]) -> dict[str, Any]:
    latency, full = (np.concatenate([one.latency_ms for one in parts]) for parts in (own, reference))
    by_pass, full_by_pass = (np.mean([one.pass_ms for one in parts], axis=0) for parts in (own, reference))
    return {
        "mean_ms": float(latency.mean()),
        "p99_ms": float(np.percentile(latency, 99)),
        "ratio": float(latency.mean() / full.mean()),
        "ratio_by_pass": (by_pass / full_by_pass).tolist(),
    }


def _same(policies: Sequence[Policy], timed: Sequence[StreamTimes], cases: Sequence[Case]) -> float:
    """Return the share of answers that are those of the simulation."""
    same = [
        one.labels == decide(policy, case.test, case.base_rates).labels[0][: len(one.labels)]
        for policy, one, case in zip(policies, timed, cases, strict=True)
    ]
    return float(np.concatenate(same).mean())
