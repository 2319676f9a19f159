"""Profiles a bundle: one process per thread count, here or on a device, and one document of it all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eetool.errors import UnstableError
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.profile.local_runner import MeasureFunction, measure_in_process
from eetool.profile.protocol import NO_POWER, THOROUGH, MeasurementProtocol, PowerOptions
from eetool.progress import SILENT, Progress, report_elapsed
from eetool_measure.energy import estimate_energy
from eetool_measure.machine import Machine
from eetool_measure.results import BundleId, EnergyTimes, ThreadTimes
from eetool_measure.stability import Steadiness
from eetool_measure.sustained import Sustained
from eetool_runtime.bundle import Bundle

SCHEMA = "profile/1"
HOST = "host"
MEASURED = "measured"

# More threads must be worth it: what they take, other work on the device does not have.
_WORTH_MORE_THREADS = 0.03
_BRIEF = MeasurementProtocol(runs=1, min_seconds=0)


@dataclass(frozen=True)
class Profile:
    """The document `profile/1`. Every latency in it was measured on `machine`.

    `energy_mj` is per input, over the exits as `threads_chosen_by` says; `energy` has everything that was measured.
    `steadiness` is that of the chosen thread count, `unstable` why it should not be believed, if that was accepted.
    """

    device: str
    provenance: str
    bundle: BundleId
    variant: str
    threads: int
    threads_chosen_by: str
    pool: str
    protocol: MeasurementProtocol
    thread_counts: tuple[ThreadTimes, ...]
    energy_mj: Energy
    machine: Machine
    steadiness: Steadiness
    unstable: tuple[str, ...] = ()
    energy: EnergyTimes | None = None
    sustained: Sustained | None = None

    @property
    def chosen(self) -> ThreadTimes:
        """What was measured with the thread count to use."""
        return next(times for times in self.thread_counts if times.threads == self.threads)


def profile_bundle(
    bundle: Bundle,
    variant: str,
    threads: Sequence[int],
    protocol: MeasurementProtocol = THOROUGH,
    progress: Progress = SILENT,
    device: str = HOST,
    power: PowerOptions = NO_POWER,
    measure: MeasureFunction = measure_in_process,
    accept_unstable: bool = False,
) -> Profile:
    """Measure `variant` with every count in `threads`, and choose among them.

    `device` is a name of the machine that `measure` measures on, by default this one.

    Energy and what is held out (`MeasurementProtocol.sustained_s`) are measured with the chosen count alone: they take far longer.

    Raises:
        UnstableError: the times of the chosen count scatter, drift, or are those of a board that was slowed down.
        EarlyExitError: a child could not measure; the class says whose fault it is.
    """
    measured = []
    for count in threads:
        said = f"measuring, {count} thread" + "s" * (count > 1)
        with report_elapsed(progress, said, protocol.min_seconds):  # it goes on where the times are not sure by then
            measured.append(measure(bundle.path, variant, count, replace(protocol, sustained_s=None)))
    times = tuple(m.times for m in measured)
    point, shares = _expected_shares(bundle, variant)
    chosen, reason = choose_threads(times, point, shares)
    first = next(m for m in measured if m.times.threads == chosen)
    reasons = first.steadiness.reasons
    if reasons and not accept_unstable:
        raise UnstableError(
            f"{bundle.path.name}, threads {chosen}: {'; '.join(reasons)}",
            "Close what else runs, cool the board or measure longer; --accept-unstable keeps the times and says so.",
        )
    energy = _energy(bundle, variant, first.times, power, progress, measure)
    return Profile(
        device=device,
        provenance=MEASURED,
        bundle=first.bundle,
        variant=variant,
        threads=chosen,
        threads_chosen_by=reason,
        pool=first.times.pool,
        protocol=protocol,
        thread_counts=times,
        energy_mj=mean_energy_mj(energy, shares),
        machine=first.machine,
        steadiness=first.steadiness,
        unstable=reasons,
        energy=energy,
        sustained=_sustained(bundle, variant, chosen, protocol.sustained_s, progress, measure),
    )


def mean_energy_mj(energy: EnergyTimes | None, shares: Sequence[float] | None) -> Energy:
    """Millijoules per input where `shares` of the inputs leave at each exit; without shares, at full depth."""
    if energy is None:
        return UNKNOWN
    if shares is None:
        value = energy.full.value
    else:
        values = [at.value for at in energy.cascade]
        known = None not in values
        value = sum(s * v for s, v in zip(shares, values, strict=True) if v is not None) if known else None
    return UNKNOWN if value is None else Energy(value, energy.provenance, energy.scope)


def _energy(
    bundle: Bundle, variant: str, times: ThreadTimes, power: PowerOptions, progress: Progress, measure: MeasureFunction
) -> EnergyTimes | None:
    if power.watts is not None:
        return estimate_energy(times, power.watts)
    if not power.words:
        return None
    with progress(f"energy by {power.meter}", 1) as advance:
        found = measure(bundle.path, variant, times.threads, _BRIEF, power=power).energy
        advance(1)
    return found


def _sustained(
    bundle: Bundle, variant: str, threads: int, seconds: float | None, progress: Progress, measure: MeasureFunction
) -> Sustained | None:
    if seconds is None:
        return None
    with report_elapsed(progress, f"calling it for {seconds:g} s", seconds):
        return measure(bundle.path, variant, threads, replace(_BRIEF, sustained_s=seconds)).sustained


def candidate_threads(cores: int) -> tuple[int, ...]:
    """Thread counts worth measuring: each up to 4, then doubled, and all cores."""
    doubled = [2**power for power in range(3, cores.bit_length())]
    return tuple(sorted({*range(1, min(cores, 4) + 1), *doubled, cores}))


def choose_threads(
    measured: Sequence[ThreadTimes], point: str | None, shares: Sequence[float] | None
) -> tuple[int, str]:
    """The fewest threads that come within 3 % of the fastest, and the yardstick in words.

    The yardstick is what users wait for: the mean latency over the exits, by the shares of inputs that left at each
    when the default operating point was fitted; without such shares, full depth. Not the components alone, which
    nobody runs.
    """
    latency_ms = {times.threads: _mean_latency_ms(times, shares) for times in measured}
    enough = min(latency_ms.values()) * (1 + _WORTH_MORE_THREADS)
    chosen = min(threads for threads, found in latency_ms.items() if found <= enough)
    return chosen, "latency at full depth" if shares is None else f"mean latency by the exit shares of {point}"


def _mean_latency_ms(times: ThreadTimes, shares: Sequence[float] | None) -> float:
    if shares is None:
        return times.full.median
    return sum(share * at.latency_ms.median for share, at in zip(shares, times.cascade, strict=True))


def _expected_shares(bundle: Bundle, variant: str) -> tuple[str | None, tuple[float, ...] | None]:
    name = bundle.manifest.default_operating_point
    expected = bundle.variant(variant).operating_points[name].expected
    return (None, None) if expected is None else (name, expected.exit_shares)
