"""Whether a measurement may be believed: how sure its medians are, whether it drifted, whether the board was slowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import perf_counter_ns
from typing import TypeVar

import numpy as np

from eetool_runtime.records import dataclass

from .machine_state import MachineState
from .timing import Clock, Subject, interleave, per_round, spread

Key = TypeVar("Key")

PRECISION = 0.02  # what is aimed at: half the 95 % interval of a median, as a share of it
MOST_DOUBT = 0.05  # above, the measurement is refused
MOST_DRIFT = 0.10
_AGAIN = 2  # times that a measurement may be made longer


@dataclass(frozen=True)
class Steadiness:
    """How steady a measurement was.

    `ci95_share` is half the 95 % interval of the median, as a share of it, of the least sure way through the model.
    `drift` is how much slower (above 0) or faster the last third of the rounds was than the first, of all together.
    """

    ci95_share: float
    drift: float
    before: MachineState
    after: MachineState

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it should be refused; empty where it may be believed."""
        said = []
        if self.before.throttled or self.after.throttled:
            said.append("the board was slowed down by heat or a weak supply")
        if self.ci95_share > MOST_DOUBT:
            said.append(f"a median is known to ±{self.ci95_share:.0%} only")
        if abs(self.drift) > MOST_DRIFT:
            said.append(f"times drifted by {self.drift:+.0%} while it lasted")
        return tuple(said)


def interleave_until_steady(
    subjects: Mapping[Key, Subject],
    watched: Collection[Key],
    *,
    runs: int,
    min_seconds: float,
    seed: int,
    clock: Clock = perf_counter_ns,
) -> dict[Key, np.ndarray]:
    """As `timing.interleave`, and once or twice more where `doubt` of those `watched` is above `PRECISION` by then."""
    times = interleave(subjects, runs=runs, min_seconds=min_seconds, seed=seed, clock=clock)
    for again in range(1, _AGAIN + 1):
        if relative_ci95({key: times[key] for key in watched}) <= PRECISION:
            break
        more = interleave(subjects, runs=runs, min_seconds=min_seconds, seed=seed + again, clock=clock)
        times = {key: np.concatenate([taken, more[key]]) for key, taken in times.items()}
    return times


def relative_ci95(times: Mapping[Key, np.ndarray]) -> float:
    """`Steadiness.ci95_share` of (rounds, BLOCK) nanoseconds of every subject; 0 for one round, which cannot tell."""
    shares = []
    for taken in times.values():
        found = spread(per_round(taken))
        low, high = found.ci95
        shares.append((high - low) / 2 / found.median)
    return max(shares)


def drift(times: Mapping[Key, np.ndarray]) -> float:
    """`Steadiness.drift` of (rounds, BLOCK) nanoseconds of every subject; 0 for fewer than three rounds."""
    together = np.sum([per_round(taken) for taken in times.values()], axis=0)  # (rounds,)
    third = len(together) // 3
    if third == 0:
        return 0.0
    return float(np.median(together[-third:]) / np.median(together[:third]) - 1)
