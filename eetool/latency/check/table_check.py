"""Check of a latency table: its reference probes measured again, and the speed factors that follow."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from eetool.errors import ArtefactError
from eetool.latency.build.probe_measurement import Runner
from eetool.latency.build.stability import is_steady
from eetool.latency.check.speed_factors import fit_speed_factors
from eetool.latency.kernels.speed_class import COMPUTE, MEMORY, SPEED_CLASSES
from eetool.latency.probes.probe_files import ProbeKind, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name
from eetool.latency.table.hw_profile import HwProfile, is_board
from eetool.latency.table.table import BACKENDS, ReferenceProbe, ReferenceSet
from eetool.workspace import scratch
from eetool_measure.machine import Machine
from eetool_measure.probe_timing import WHOLE, ProbeTimes

SCHEMA = "table_check/1"
RUNS = 30  # timed calls of each probe
MAX_UNSTEADY = 0.5  # share of scattering probes from which a check is rejected, as of a table's own probes
LEAST_PROCESSOR_SHARE = 0.8  # of the time of a check; below, long calls are interrupted, and short ones are not
LEAST_CHANGE = 0.05  # smaller changes are within the errors of a table, and are not applied
LEAST_ERROR = 0.02  # smaller uncertainties of the speed are part of the table's own error

Conditions = tuple[str, str, int]  # backend, precision, threads


@dataclass(frozen=True)
class SpeedFactor:
    """Latency of one class of kernels now, over that when the table was built.

    Attributes:
        kernels: `compute`, `memory` or `calls`.
        interval: interval of 90 %.
        applied: whether estimates are multiplied by it.
    """

    kernels: str
    factor: float
    interval: tuple[float, ...]
    applied: bool


@dataclass(frozen=True)
class ReferenceTime:
    """One reference probe: median latency when the table was built, and now."""

    name: str
    then_ms: float
    now_ms: float
    steady: bool


@dataclass(frozen=True)
class ConditionCheck:
    """Check of one backend, precision and thread count.

    Attributes:
        speed_error: relative standard deviation that the speed adds to every latency; 0 where the table's own error
            covers it.
        reasons: why the measurement is rejected; empty where it is stable.
    """

    backend: str
    precision: str
    threads: int
    factors: tuple[SpeedFactor, ...]
    speed_error: float
    reasons: tuple[str, ...]
    probes: tuple[ReferenceTime, ...]

    @property
    def conditions(self) -> Conditions:
        """Backend, precision and thread count."""
        return self.backend, self.precision, self.threads


@dataclass(frozen=True)
class TableCheck:
    """The document `table_check/1`.

    Attributes:
        device: name of the profile.
        checked_at: Unix time in seconds.
        seconds: how long it took.
    """

    device: str
    checked_at: float
    seconds: float
    conditions: tuple[ConditionCheck, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons to reject the check."""
        return tuple(dict.fromkeys(reason for part in self.conditions for reason in part.reasons))


def reference_conditions(profile: HwProfile) -> list[Conditions]:
    """Return the conditions that a profile holds reference probes of."""
    return [(r.backend, r.precision, r.threads) for r in profile.references]


def is_of_machine(profile: HwProfile, machine: Machine) -> bool:
    """Return whether a profile is of a machine with this processor, or of this board."""
    processor = machine.cpu or machine.architecture
    same = (profile.facts.soc, profile.facts.cpu) == (machine.board or processor, processor)
    return same or is_board(profile, machine.board)


def require_machine(profile: HwProfile, machine: Machine) -> None:
    """Refuse to check the table of another machine.

    Raises:
        ArtefactError: processor and board differ.
    """
    if not is_of_machine(profile, machine):
        raise ArtefactError(
            f"{profile.name} is the table of {profile.title}, and this is {machine.board or machine.cpu}",
            "Check it on its own machine, or from here with --device ssh://user@host.",
        )


def check_table(
    profile: HwProfile, wanted: Collection[Conditions], run: Runner, accept_unstable: bool = False
) -> TableCheck:
    """Measure the reference probes of a table again, on its device.

    Args:
        profile: the table.
        wanted: conditions to check.
        run: measures a folder of probes on the device.
        accept_unstable: apply factors of a rejected measurement, too.

    Raises:
        ArtefactError: the table holds no reference probes of these conditions, this version draws other networks, or
            another machine was measured.
    """
    begin = time.perf_counter()
    sets = [r for r in profile.references if (r.backend, r.precision, r.threads) in wanted]
    if not sets:
        raise ArtefactError(
            f"{profile.name} holds no reference probes"
            + (" of these conditions" if profile.references else ", so nothing shows whether it still holds"),
            "`eetool table build` makes a table with them.",
        )
    parts = tuple(_check_set(profile, references, run, accept_unstable) for references in sets)
    return TableCheck(profile.name, time.time(), time.perf_counter() - begin, parts)


def _check_set(profile: HwProfile, references: ReferenceSet, run: Runner, accept_unstable: bool) -> ConditionCheck:
    times = _measure(references, run)
    require_machine(profile, times.machine)
    now = {probe.name: probe for probe in times.probes}
    probes = [probe for probe in references.probes if probe.name in now]
    then_ms = np.array([probe.latency_ms for probe in probes])  # (n,)
    now_ms = np.array([now[probe.name].latency_ms.median for probe in probes])
    shares = np.array([[probe.shares.get(name, 0.0) for name in SPEED_CLASSES] for probe in probes])  # (n, classes)
    steady = [is_steady(now[probe.name]) for probe in probes]
    reasons = _reasons(times, steady)
    fit = fit_speed_factors(shares, now_ms / then_ms)
    factors = [
        _factor(name, float(factor), float(half), accept_unstable or not reasons)
        for name, factor, half in zip(SPEED_CLASSES, fit[0], fit[2], strict=True)
    ]
    return ConditionCheck(
        references.backend,
        references.precision,
        references.threads,
        tuple(factors),
        _speed_error(factors, fit[1]),
        reasons,
        tuple(
            ReferenceTime(probe.name, float(then), float(ms), calm)
            for probe, then, ms, calm in zip(probes, then_ms, now_ms, steady, strict=True)
        ),
    )


def _measure(references: ReferenceSet, run: Runner) -> ProbeTimes:
    kind = ProbeKind({b: f for f, b in BACKENDS.items()}[references.backend], references.precision)
    networks = [_network(probe) for probe in references.probes]
    with scratch() as folder:
        path = folder / "probes"
        write_probes(path, networks, kind)
        options = {"--threads": references.threads, "--runs": RUNS, "--min-seconds": 0, "--times": WHOLE}
        return run(ProbeTimes, path, options)


def _network(probe: ReferenceProbe) -> ProbeNetwork:
    net = parse_name(probe.name)
    if net is None or net.fingerprint != probe.fingerprint:
        raise ArtefactError(
            f"the reference probe {probe.name!r} is another network in this version of eetool",
            "`eetool table build` makes a table of this version.",
        )
    return net


def _reasons(times: ProbeTimes, steady: Sequence[bool]) -> tuple[str, ...]:
    reasons = []
    if times.before.throttled or times.after.throttled:
        reasons.append("the device was throttled (heat or a weak supply)")
    processor = times.processor_share
    if processor is not None and processor < LEAST_PROCESSOR_SHARE:
        reasons.append(f"other programs took {1 - processor:.0%} of the processor")
    share = 1 - sum(steady) / max(1, len(steady))
    if share > MAX_UNSTEADY:
        reasons.append(f"{share:.0%} of the reference probes scattered")
    return tuple(reasons)


def _factor(name: str, factor: float, half: float, usable: bool) -> SpeedFactor:
    changed = abs(factor - 1) > max(LEAST_CHANGE, half)  # the interval excludes 1
    return SpeedFactor(name, round(factor, 4), (round(factor - half, 4), round(factor + half, 4)), usable and changed)


def _speed_error(factors: Sequence[SpeedFactor], deviations: np.ndarray) -> float:
    """Return the larger uncertainty of what computes and what moves numbers; calls are a small part of a network.

    A factor that is not applied leaves its whole difference from 1 as an error.
    """
    errors = [
        deviation / part.factor if part.applied else float(np.hypot(deviation, part.factor - 1))
        for part, deviation in zip(factors, deviations, strict=True)
        if part.kernels in (COMPUTE, MEMORY)
    ]
    return round(max(errors), 4) if max(errors) > LEAST_ERROR else 0.0
