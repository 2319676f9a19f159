"""Profiles a bundle on this machine: one child process per thread count, one document."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eetool.profile.child import run_measure
from eetool.profile.energy import UNKNOWN, Energy
from eetool.progress import SILENT, Progress
from eetool_runtime.backends import PROCESS
from eetool_runtime.bundle import Bundle
from eetool_runtime.machine import Machine
from eetool_runtime.measure import MIN_SECONDS, RUNS, SEED
from eetool_runtime.measurement import BundleId, Measurement, ThreadTimes

SCHEMA = "profile/1"
HOST = "host"
MEASURED = "measured"

# More threads must be worth it: what they take, other work on the device does not have.
_WORTH_MORE_THREADS = 0.03


@dataclass(frozen=True)
class Protocol:
    """How long to measure; see `docs/measuring.md`. Both bounds hold per thread count."""

    runs: int = RUNS
    min_seconds: float = MIN_SECONDS
    seed: int = SEED


@dataclass(frozen=True)
class Profile:
    """The document `profile/1`. Every latency in it was measured on `machine`."""

    device: str
    provenance: str
    bundle: BundleId
    variant: str
    threads: int
    threads_chosen_by: str
    pool: str
    protocol: Protocol
    thread_counts: tuple[ThreadTimes, ...]
    energy_mj: Energy
    machine: Machine

    @property
    def chosen(self) -> ThreadTimes:
        """What was measured with the thread count to use."""
        return next(times for times in self.thread_counts if times.threads == self.threads)


def profile_host(
    bundle: Bundle,
    variant: str,
    threads: Sequence[int],
    protocol: Protocol = Protocol(),
    progress: Progress = SILENT,
    device: str = HOST,
) -> Profile:
    """Measure `variant` with every count in `threads`, and choose among them; `device` is a name of this machine.

    Raises:
        EarlyExitError: a child could not measure; the class says whose fault it is.
    """
    measured = []
    with progress("measuring", len(threads)) as advance:
        for count in threads:
            measured.append(measure_apart(bundle.path, variant, count, protocol))
            advance(1)
    times = tuple(m.times for m in measured)
    chosen, reason = choose_threads(times, *_expected_shares(bundle, variant))
    first = measured[0]
    return Profile(
        device=device,
        provenance=MEASURED,
        bundle=first.bundle,
        variant=variant,
        threads=chosen,
        threads_chosen_by=reason,
        pool=next(t.pool for t in times if t.threads == chosen),
        protocol=protocol,
        thread_counts=times,
        energy_mj=UNKNOWN,
        machine=first.machine,
    )


def measure_apart(path: Path, variant: str, threads: int, protocol: Protocol, pool: str = PROCESS) -> Measurement:
    """Measure in a process of its own, since the thread pool of a process can be set only once."""
    options = {
        "--variant": variant,
        "--threads": threads,
        "--pool": pool,
        "--runs": protocol.runs,
        "--min-seconds": protocol.min_seconds,
        "--seed": protocol.seed,
    }
    return run_measure(Measurement, path, options)


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
