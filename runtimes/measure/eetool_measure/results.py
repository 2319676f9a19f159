"""Results of a measurement: records, and their computation from raw times."""

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

Key = tuple[str, str]  # kind of subject, and its name
COMPONENT, EXIT, REFERENCE, VIEW = "component", "exit", "reference", "view"
FULL: Key = ("full", "")


@dataclass(frozen=True)
class ComponentTime:
    """Latency of one component alone, on intermediate tensors of the samples."""

    name: str
    kind: str
    macs: int
    latency_ms: Latency


@dataclass(frozen=True)
class ViewTime:
    """Latency of making one input from a picture: resizing and normalising of an array.

    Attributes:
        input: name of the input.
        picture: height and width of the picture.
        latency_ms: milliseconds.
    """

    input: str
    picture: tuple[int, ...]
    latency_ms: Latency


@dataclass(frozen=True)
class CascadeTime:
    """Latency of the cascade that leaves at `exit`, after all earlier exits ran, and the sum of its components."""

    exit: int
    latency_ms: Latency
    components_sum_ms: float
    ratio: Spread
    runtime_us_per_component: Spread


@dataclass(frozen=True)
class References:
    """Latency of the backbone without exits, and with all of them, each as one graph; None without references."""

    unsplit: Optional[Latency]
    all_exits: Optional[Latency]


@dataclass(frozen=True)
class OverheadRatios:
    """Ratios of latencies at full depth.

    Every exit runs, except in `full_to_unsplit`. `components_to_all_exits` is the overhead of the split,
    `cascade_to_components` that of the runtime.
    """

    cascade_to_components: Spread
    components_to_all_exits: Optional[Spread]
    cascade_to_all_exits: Optional[Spread]
    cascade_to_unsplit: Optional[Spread]
    full_to_unsplit: Optional[Spread]
    split_us_per_component: Optional[Spread]


@dataclass(frozen=True)
class ThreadTimes:
    """Latencies with one thread count. `full` is the cascade at full depth without early exits.

    `views` are the inputs that are made of photographs; no other latency includes their making. `pool` is the pool in
    use, which may differ from the request: one thread needs none, and old backends have none.
    """

    threads: int
    pool: str
    components: tuple[ComponentTime, ...]
    cascade: tuple[CascadeTime, ...]
    full: Latency
    references: References
    overhead: OverheadRatios
    views: tuple[ViewTime, ...] = ()


@dataclass(frozen=True)
class EnergyFigure:
    """Millijoules per inference and the 95 % interval of the mean; None where the interval is too wide."""

    value: Optional[float]
    ci95: Optional[tuple[float, ...]]


@dataclass(frozen=True)
class EnergyTimes:
    """Energy of all subjects with one thread count, of one `scope` and `provenance`.

    `idle_w` is the idle power that was subtracted, or None. `cascade` is by exit, `full` the full depth without early
    exits. As with latency, components do not add up exactly to the cascade.
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
    """Identity of a bundle: its manifest holds the hash of every other file."""

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
    """Return thresholds with which every input leaves at `exit_index`, after all earlier exits ran."""
    always: tuple[Optional[float], ...] = (NEVER,) * exit_index + (0.0,)
    return (always + (None,) * m.n_early_exits)[: m.n_early_exits]


def summarize_times(
    m: Manifest, threads: Threads, times: Mapping[Key, np.ndarray], picture: tuple[int, int] = (0, 0)
) -> ThreadTimes:
    """Return the records of `times`, int64 (rounds, BLOCK) nanoseconds for every subject.

    `picture` is the height and width of the picture that inputs were made of.
    """

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
        views=tuple(ViewTime(name, picture, latency(ns)) for (kind, name), ns in times.items() if kind == VIEW),
    )


def components_run(m: Manifest, exit_index: int) -> list[str]:
    """Return the components that run for an input that leaves at `exit_index`, all earlier exits included."""
    names = []
    for step in plan_steps(m, thresholds_to_leave_at(m, exit_index)):
        names.append(step.component)
        if step.gate is not None and step.gate.exit_index == exit_index:
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
