"""What a measurement says: the records, and how they follow from the raw times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from eetool_runtime.backends import Threads
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import NEVER, Manifest

from .machine import Machine
from .stability import Steadiness
from .sustained import Sustained
from .timing import Latency, Spread, latency, per_round, spread

Key = tuple[str, str]  # what kind of subject was timed, and which one
COMPONENT, EXIT, REFERENCE = "component", "exit", "reference"
FULL: Key = ("full", "")


@dataclass(frozen=True)
class ComponentTime:
    """One component alone, on what the components before it make of the samples."""

    name: str
    kind: str
    macs: int
    latency_ms: Latency


@dataclass(frozen=True)
class CascadeTime:
    """The cascade leaving at `exit`, all earlier heads run and do not fire, beside the sum of what ran."""

    exit: int
    latency_ms: Latency
    components_sum_ms: float
    ratio: Spread
    runtime_us_per_component: Spread


@dataclass(frozen=True)
class References:
    """The backbone without exits, and with all of them, each as one graph; null where the bundle was stripped."""

    unsplit: Optional[Latency]
    all_exits: Optional[Latency]


@dataclass(frozen=True)
class OverheadRatios:
    """Ratios at full depth with every head running, but `full_to_unsplit`, where heads are skipped.

    `components_to_all_exits` is what the split costs, `cascade_to_components` what the runtime adds.
    """

    cascade_to_components: Spread
    components_to_all_exits: Optional[Spread]
    cascade_to_all_exits: Optional[Spread]
    cascade_to_unsplit: Optional[Spread]
    full_to_unsplit: Optional[Spread]
    split_us_per_component: Optional[Spread]


@dataclass(frozen=True)
class ThreadTimes:
    """Everything measured with one thread count. `full` is the cascade at full depth with heads skipped.

    `pool` is the one the graphs really had: a single thread needs none, and old backends have no common one.
    """

    threads: int
    pool: str
    components: tuple[ComponentTime, ...]
    cascade: tuple[CascadeTime, ...]
    full: Latency
    references: References
    overhead: OverheadRatios


@dataclass(frozen=True)
class EnergyFigure:
    """Millijoules per inference and the 95 % interval of their mean; null where the meter could not resolve it."""

    value: Optional[float]
    ci95: Optional[tuple[float, ...]]


@dataclass(frozen=True)
class EnergyTimes:
    """Energy of everything that was timed with one thread count, all of one `scope` and `provenance`.

    `idle_w` is what was subtracted; null where nothing was. Components alone do not add up to the cascade exactly,
    as with latency. `cascade` is by exit, `full` the full depth with heads skipped.
    """

    meter: str
    scope: str
    provenance: str
    threads: int
    idle_w: Optional[float]
    window_s: Optional[float]
    windows: int
    components: dict[str, EnergyFigure]
    cascade: tuple[EnergyFigure, ...]
    full: EnergyFigure
    references: dict[str, EnergyFigure]


@dataclass(frozen=True)
class BundleId:
    """Which bundle was measured: its manifest holds the hash of every other file."""

    name: str
    manifest_sha256: str


@dataclass(frozen=True)
class Measurement:
    """The document that `python -m eetool_measure` prints."""

    bundle: BundleId
    variant: str
    times: ThreadTimes
    machine: Machine
    steadiness: Steadiness
    energy: Optional[EnergyTimes] = None
    sustained: Optional[Sustained] = None


def thresholds_to_leave_at(m: Manifest, exit_index: int) -> tuple[Optional[float], ...]:
    """Thresholds with which every input leaves at `exit_index`, all heads before it having run."""
    always: tuple[Optional[float], ...] = (NEVER,) * exit_index + (0.0,)
    return (always + (None,) * m.n_early_exits)[: m.n_early_exits]


def summarize_times(m: Manifest, threads: Threads, times: Mapping[Key, np.ndarray]) -> ThreadTimes:
    """Records of `times`, int64 (rounds, BLOCK) nanoseconds for every subject."""

    def reference(name: str) -> Optional[Latency]:
        return latency(times[REFERENCE, name]) if (REFERENCE, name) in times else None

    return ThreadTimes(
        threads=threads.count,
        pool=threads.pool,
        components=tuple(
            ComponentTime(c.name, c.kind, c.macs, latency(times[COMPONENT, c.name])) for c in m.components
        ),
        cascade=tuple(_cascade_time(m, index, times) for index in range(len(m.exits))),
        full=latency(times[FULL]),
        references=References(reference("unsplit"), reference("all_exits")),
        overhead=_overhead(m, times),
    )


def components_run(m: Manifest, exit_index: int) -> list[str]:
    """Names of the components that run for an input leaving at `exit_index`, all heads before it included."""
    names = []
    for stage in plan_steps(m, thresholds_to_leave_at(m, exit_index)):
        names.append(stage.component)
        if stage.gate is not None and stage.gate.exit_index == exit_index:
            break
    return names


def _cascade_time(m: Manifest, index: int, times: Mapping[Key, np.ndarray]) -> CascadeTime:
    names = components_run(m, index)
    cascade = per_round(times[EXIT, str(index)])  # (rounds,)
    parts = np.sum([per_round(times[COMPONENT, name]) for name in names], axis=0)  # (rounds,)
    return CascadeTime(
        exit=index,
        latency_ms=latency(times[EXIT, str(index)]),
        components_sum_ms=sum(latency(times[COMPONENT, name]).median for name in names),
        ratio=spread(cascade / parts),
        runtime_us_per_component=spread((cascade - parts) / len(names) * 1e3),
    )


def _overhead(m: Manifest, times: Mapping[Key, np.ndarray]) -> OverheadRatios:
    rounds = {key: per_round(ns) for key, ns in times.items()}  # (rounds,) each
    parts = np.sum([rounds[COMPONENT, c.name] for c in m.components], axis=0)  # (rounds,)
    cascade = rounds[EXIT, str(m.n_early_exits)]
    all_exits, unsplit = rounds.get((REFERENCE, "all_exits")), rounds.get((REFERENCE, "unsplit"))
    return OverheadRatios(
        cascade_to_components=spread(cascade / parts),
        components_to_all_exits=_ratio(parts, all_exits),
        cascade_to_all_exits=_ratio(cascade, all_exits),
        cascade_to_unsplit=_ratio(cascade, unsplit),
        full_to_unsplit=_ratio(rounds[FULL], unsplit),
        split_us_per_component=(
            spread((parts - all_exits) / len(m.components) * 1e3) if all_exits is not None else None
        ),
    )


def _ratio(above: np.ndarray, below: Optional[np.ndarray]) -> Optional[Spread]:
    return spread(above / below) if below is not None else None
