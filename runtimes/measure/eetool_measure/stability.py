"""Stability of a measurement: confidence intervals of its medians, drift, and throttling of the board."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import perf_counter_ns
from typing import TypeVar

import numpy as np

from eetool_runtime.records import dataclass

from .machine_state import MachineState
from .timing import Clock, Subject, interleave, per_round, spread

Key = TypeVar("Key")

TARGET_CI95 = 0.02  # half the 95 % interval of a median, divided by the median
MAX_CI95 = 0.05  # above, the measurement is refused
MAX_DRIFT = 0.10
MAX_P90 = 2.0  # 90th percentile of the calls over their median: above, other programs took the processor
_MAX_REPEATS = 2


@dataclass(frozen=True)
class Steadiness:
    """Stability of one measurement.

    Attributes:
        ci95_share: half the 95 % interval of a median, divided by the median; the largest over all exits.
        drift: relative change of the total latency from the first to the last third of the rounds.
        before: state of the machine before the measurement.
        after: state of the machine after it.
        p90_to_median: 90th percentile of the calls of an exit over their median; the largest over all exits. 1 in
            documents of earlier versions.
    """

    ci95_share: float
    drift: float
    before: MachineState
    after: MachineState
    p90_to_median: float = 1.0

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons to refuse the measurement; empty where it is stable."""
        reasons = []
        if self.before.throttled or self.after.throttled:
            reasons.append("the board was slowed down by heat or a weak supply")
        reasons += scatter_reasons(self.ci95_share, self.p90_to_median)
        if abs(self.drift) > MAX_DRIFT:
            reasons.append(f"times drifted by {self.drift:+.0%} while it lasted")
        return tuple(reasons)


def scatter_reasons(ci95_share: float, p90_to_median: float) -> list[str]:
    """Return the reasons to refuse times that scatter as much; for the arguments see `Steadiness`."""
    reasons = []
    if ci95_share > MAX_CI95:
        reasons.append(f"a median is known to ±{ci95_share:.0%} only")
    if p90_to_median > MAX_P90:
        reasons.append(f"a tenth of the calls took {p90_to_median:.1f} times the median or longer")
    return reasons


def interleave_until_steady(
    subjects: Mapping[Key, Subject],
    watched: Collection[Key],
    *,
    runs: int,
    min_seconds: float,
    seed: int,
    clock: Clock = perf_counter_ns,
) -> dict[Key, np.ndarray]:
    """Measure as `timing.interleave`, and up to twice more while `relative_ci95` of `watched` exceeds TARGET_CI95."""
    times = interleave(subjects, runs=runs, min_seconds=min_seconds, seed=seed, clock=clock)
    for repeat in range(1, _MAX_REPEATS + 1):
        if relative_ci95({key: times[key] for key in watched}) <= TARGET_CI95:
            break
        more = interleave(subjects, runs=runs, min_seconds=min_seconds, seed=seed + repeat, clock=clock)
        times = {key: np.concatenate([previous, more[key]]) for key, previous in times.items()}
    return times


def relative_ci95(times: Mapping[Key, np.ndarray]) -> float:
    """Return `Steadiness.ci95_share` of (rounds, BLOCK) nanoseconds of every subject; 0 for a single round."""
    shares = []
    for times_ns in times.values():
        rounds = spread(per_round(times_ns))
        low, high = rounds.ci95
        shares.append((high - low) / 2 / rounds.median)
    return max(shares)


def p90_to_median(times: Mapping[Key, np.ndarray]) -> float:
    """Return `Steadiness.p90_to_median` of nanoseconds of every subject."""
    pairs = [np.percentile(times_ns, (90, 50)) for times_ns in times.values()]
    return max(float(p90 / median) for p90, median in pairs)


def drift(times: Mapping[Key, np.ndarray]) -> float:
    """Return `Steadiness.drift` of (rounds, BLOCK) nanoseconds of every subject; 0 for fewer than three rounds."""
    total = np.sum([per_round(times_ns) for times_ns in times.values()], axis=0)  # (rounds,)
    third = len(total) // 3
    if third == 0:
        return 0.0
    return float(np.median(total[-third:]) / np.median(total[:third]) - 1)
