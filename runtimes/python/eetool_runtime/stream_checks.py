"""Rules of policies for streams, in a manifest or given by an application. The normative text is docs/streams.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

from .manifest import NEVER, SCHEMA_VERSION, Manifest, Stream, StreamExpected, StreamPolicy

MIN_RATE = 1e-6  # of epsilon and of a base rate: posteriors divide by sums of their products
_MAX_SECONDS = 1e9
_MAX_CHECK = 10**9


def policy_problem(policy: StreamPolicy, early_exits: int) -> Optional[str]:
    """Return the field that breaks a rule and the rule, or None."""
    if not MIN_RATE <= policy.epsilon <= 1:
        return f"epsilon: must lie in [{MIN_RATE:g}, 1]"
    if len(policy.thresholds) != early_exits:
        return f"thresholds: {len(policy.thresholds)}; one per early exit is needed, {early_exits}"
    for t in policy.thresholds:
        if t is not None and not 0 <= t <= NEVER:
            return f"thresholds: {t} does not lie in [0, {NEVER}]"
    if not 0 <= policy.check_every <= _MAX_CHECK:
        return f"check_every: must lie in [0, {_MAX_CHECK}]"
    if policy.skip_distance is not None and not 0 <= policy.skip_distance <= 1:
        return "skip_distance: must lie in [0, 1] or be null"
    if policy.gap_s is not None and not 0 < policy.gap_s <= _MAX_SECONDS:
        return f"gap_s: must lie in (0, {_MAX_SECONDS:g}] or be null"
    return None


def rates_problem(base_rates: Sequence[float], classes: int) -> Optional[str]:
    """Return why `base_rates` are none of so many classes, or None."""
    if len(base_rates) != classes:
        return f"base_rates: {len(base_rates)}; one per class is needed, {classes}"
    if not all(rate >= MIN_RATE for rate in base_rates) or not math.isclose(sum(base_rates), 1, abs_tol=1e-6):
        return f"base_rates: must be at least {MIN_RATE:g} and sum to 1"
    return None


def stream_problem(m: Manifest) -> Optional[str]:
    """Return the field of the block `stream` that breaks a rule and the rule, or None."""
    stream = m.stream
    if stream is None:
        return None
    if m.schema_version == SCHEMA_VERSION:
        return f"version {SCHEMA_VERSION} has no such field"
    if not 0 < stream.period_s <= _MAX_SECONDS:
        return f"period_s: must lie in (0, {_MAX_SECONDS:g}]"
    return rates_problem(stream.base_rates, len(m.labels)) or _points_problem(m, stream)


def _points_problem(m: Manifest, stream: Stream) -> Optional[str]:
    if not stream.operating_points:
        return "operating_points: at least one variant is needed"
    for variant, points in stream.operating_points.items():
        if variant not in m.variants:
            return f"operating_points.{variant}: there is no such variant"
        if stream.default_operating_point not in points:
            return f"operating_points.{variant}: the default {stream.default_operating_point!r} is missing"
        for name, point in points.items():
            problem = policy_problem(point.policy, m.n_early_exits)
            if problem is not None:
                return f"operating_points.{variant}.{name}.policy.{problem}"
            problem = _expected_problem(point.expected, len(m.exits)) if point.expected is not None else None
            if problem is not None:
                return f"operating_points.{variant}.{name}.expected.{problem}"
    return None


def _expected_problem(e: StreamExpected, exits: int) -> Optional[str]:
    if not 1 <= e.sequences <= e.n:
        return "sequences: must lie in [1, n]"
    if not 0 <= e.accuracy <= 1:
        return "accuracy: must lie in [0, 1]"
    if len(e.exit_shares) != exits or len(e.reached) != exits:
        return "exit_shares and reached: one per exit is needed"
    if not all(share >= 0 for share in e.exit_shares) or not math.isclose(sum(e.exit_shares), 1, abs_tol=1e-6):
        return "exit_shares: must be shares that sum to 1"
    if not all(
        r is None or (0 < r.n <= e.n and 0 <= r.confidence_mean <= 1 and 0 <= r.confidence_std <= 1) for r in e.reached
    ):
        return "reached: a number is out of range"
    for name in ("mean_macs", "reaction_mean_s", "reaction_p95_s", "false_switches_per_minute"):
        value = getattr(e, name)
        if value is not None and value < 0:
            return f"{name}: cannot be negative"
    return None
