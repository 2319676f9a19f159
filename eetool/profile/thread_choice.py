"""Choice of the thread count: the fewest threads that are nearly as fast as the fastest."""

from collections.abc import Sequence

from eetool_measure.results import ThreadTimes
from eetool_runtime.bundle import Bundle

# Least relative gain for which more threads are used: they are taken from other work on the device.
_MIN_GAIN = 0.03


def candidate_threads(cores: int) -> tuple[int, ...]:
    """Return the thread counts to measure: each up to 4, then doubled, and all cores."""
    doubled = [2**power for power in range(3, cores.bit_length())]
    return tuple(sorted({*range(1, min(cores, 4) + 1), *doubled, cores}))


def choose_threads(
    measured: Sequence[ThreadTimes], point: str | None, shares: Sequence[float] | None
) -> tuple[int, str]:
    """Return the fewest threads within 3 % of the fastest, and a description of the criterion.

    The criterion is the mean latency over the exits, weighted by `shares`. Without shares it is the latency at full
    depth. Latencies of single components do not count, since users never run them alone.

    Args:
        measured: times of each thread count.
        point: name of the operating point of the shares.
        shares: share of inputs that leaves at each exit, from the fit of the operating point.
    """
    latency_ms = {times.threads: _mean_latency_ms(times, shares) for times in measured}
    limit = min(latency_ms.values()) * (1 + _MIN_GAIN)
    chosen = min(threads for threads, ms in latency_ms.items() if ms <= limit)
    return chosen, "latency at full depth" if shares is None else f"mean latency by the exit shares of {point}"


def expected_shares(bundle: Bundle, variant: str) -> tuple[str | None, tuple[float, ...] | None]:
    """Return the default operating point and its exit shares; None for both if the shares are unknown."""
    name = bundle.manifest.default_operating_point
    expected = bundle.variant(variant).operating_points[name].expected
    return (None, None) if expected is None else (name, expected.exit_shares)


def _mean_latency_ms(times: ThreadTimes, shares: Sequence[float] | None) -> float:
    if shares is None:
        return times.full.median
    return sum(share * at.latency_ms.median for share, at in zip(shares, times.cascade, strict=True))
