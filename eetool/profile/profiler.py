"""Profile of a bundle: one measuring process per thread count, and one document of all results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eetool.errors import UnstableError, UsageError
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.profile.local_runner import MeasureFunction, measure_in_process
from eetool.profile.protocol import NO_POWER, THOROUGH, MeasurementProtocol, PowerOptions
from eetool.profile.thread_choice import choose_threads, expected_shares
from eetool.progress import SILENT, Progress, report_elapsed
from eetool.targets import is_untimed
from eetool.wording import counted
from eetool_measure.energy import estimate_energy
from eetool_measure.machine import Machine
from eetool_measure.results import BundleId, EnergyTimes, Measurement, ThreadTimes
from eetool_measure.stability import Steadiness
from eetool_measure.sustained import Sustained
from eetool_runtime.bundle import Bundle

SCHEMA = "profile/1"
HOST = "host"
MEASURED = "measured"

_BRIEF = MeasurementProtocol(runs=1, min_seconds=0)


@dataclass(frozen=True)
class Profile:
    """Document `profile/1`. Every latency in it was measured on `machine`.

    Attributes:
        device: name of the machine: `host` or its address.
        provenance: `measured`.
        bundle: identity of the bundle.
        variant: the measured variant.
        threads: the chosen thread count.
        threads_chosen_by: criterion of that choice.
        pool: thread pool of the chosen count.
        protocol: options of the measurement.
        thread_counts: times of every thread count.
        energy_mj: energy per input, averaged over the exits as in `threads_chosen_by`.
        machine: the machine that measured.
        steadiness: steadiness of the chosen thread count.
        unstable: reasons to distrust the times; see `stability_problem`.
        energy: all measured energies.
        sustained: results of sustained calls.
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
        """Times of the chosen thread count."""
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
) -> Profile:
    """Measure a variant with several thread counts, and choose one of them.

    Energy and sustained calls take far longer, so they are measured with the chosen thread count alone.

    Args:
        bundle: the bundle.
        variant: the variant to measure.
        threads: the thread counts.
        protocol: options of the measurement.
        progress: receives the progress.
        device: name of the machine that `measure` measures on.
        power: source of energy figures.
        measure: measures one thread count.

    Raises:
        UsageError: the variant is one of microcontrollers, whose time here is not theirs.
        EarlyExitError: a measuring process failed; the class follows from its exit code.
    """
    if is_untimed(variant):
        raise UsageError(
            f"{variant} is made for microcontrollers, and its time here would not be theirs",
            "Its accuracy and exit shares: eetool bench BUNDLE --data SOURCE.",
        )
    measured = [_measure_count(bundle, variant, count, protocol, progress, measure) for count in threads]
    times = tuple(m.times for m in measured)
    point, shares = expected_shares(bundle, variant)
    chosen, reason = choose_threads(times, point, shares)
    first = next(m for m in measured if m.times.threads == chosen)
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
        unstable=first.steadiness.reasons,
        energy=energy,
        sustained=_sustained(bundle, variant, chosen, protocol.sustained_s, progress, measure),
    )


def stability_problem(profile: Profile) -> UnstableError | None:
    """Return the error of times that scatter or drift, or of a throttled board; None where they are steady."""
    if not profile.unstable:
        return None
    return UnstableError(
        f"{profile.bundle.name}, threads {profile.threads}: {'; '.join(profile.unstable)}",
        "Stop other programs, cool the board or measure longer; --accept-unstable ends without an error.",
    )


def _measure_count(
    bundle: Bundle,
    variant: str,
    count: int,
    protocol: MeasurementProtocol,
    progress: Progress,
    measure: MeasureFunction,
) -> Measurement:
    label = f"measuring, {counted(count, 'thread')}"
    with report_elapsed(progress, label, protocol.min_seconds):  # longer while medians are uncertain
        return measure(bundle.path, variant, count, replace(protocol, sustained_s=None))


def mean_energy_mj(energy: EnergyTimes | None, shares: Sequence[float] | None) -> Energy:
    """Return the mean energy per input.

    Args:
        energy: measured energies; None if there are none.
        shares: share of inputs that leaves at each exit; None for the energy at full depth.
    """
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
        energy = measure(bundle.path, variant, times.threads, _BRIEF, power=power).energy
        advance(1)
    return energy


def _sustained(
    bundle: Bundle, variant: str, threads: int, seconds: float | None, progress: Progress, measure: MeasureFunction
) -> Sustained | None:
    if seconds is None:
        return None
    with report_elapsed(progress, f"calling the model for {seconds:g} s", seconds):
        return measure(bundle.path, variant, threads, replace(_BRIEF, sustained_s=seconds)).sustained
