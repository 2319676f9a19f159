"""Measured link between a device and a model server, the document `link/1`, and what a call over it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.latency.estimate.offload_cost import CallCharge
from eetool_measure.machine import Machine

SCHEMA = "link/1"
POWER_SAVE_ON, POWER_SAVE_OFF = "on", "off"


@dataclass(frozen=True)
class CallTimes:
    """Times of calls with so many bytes of tensors, from encoding to the checked answer.

    Attributes:
        bytes: of the tensors of one request; the protocol adds its own.
        p50_ms: median of the answered calls; null where none was.
        p95_ms: 95th percentile, likewise.
        n: number of calls, failed ones included.
        times_ms: of the answered calls, sorted.
        failed_ms: of the others, sorted: time until the failure was known.
        failures: their number by kind.
    """

    bytes: int
    p50_ms: float | None
    p95_ms: float | None
    n: int
    times_ms: tuple[float, ...]
    failed_ms: tuple[float, ...] = ()
    failures: dict[str, int] | None = None


@dataclass(frozen=True)
class Percentiles:
    """Median and 95th percentile in milliseconds."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Link:
    """The document `link/1`: a device, its link and one model on a server.

    Attributes:
        url_host: host and port of the server, without credentials.
        protocol: `grpc` or `rest`.
        secure: whether the connection is encrypted.
        model: name of the server's model, which ends in the hash of its graph.
        device: name of the device, `host` for this machine.
        machine: the machine that asked.
        timeout_ms: of every call.
        sizes: times at the sizes that the bundle sends.
        round_trip_ms: of requests without tensors; null where none was answered.
        throughput_mbit_s: of tensors, at least: their bits by the time that a call takes longer than a round trip, in
            which the server computed as well. Null where no call took longer.
        server_ms: time in the server; null where it does not tell.
        failures: share of the failed calls.
        interface: name of the network interface; null where it could not be read.
        power_save: of a Wi-Fi interface, `on` or `off`; null for another interface or where it could not be read.
        energy_mj: of one call on the device; null where it was not measured.
    """

    url_host: str
    protocol: str
    secure: bool
    model: str
    device: str
    machine: Machine
    timeout_ms: float
    sizes: tuple[CallTimes, ...]
    round_trip_ms: Percentiles | None
    throughput_mbit_s: float | None
    server_ms: Percentiles | None
    failures: float
    interface: str | None = None
    power_save: str | None = None
    energy_mj: float | None = None

    @property
    def one_input(self) -> CallTimes:
        """Calls with a single input, which are the smallest."""
        return min(self.sizes, key=lambda size: size.bytes)


def percentiles(times_ms: Sequence[float]) -> Percentiles | None:
    """Return median and 95th percentile of times; None without any."""
    if not len(times_ms):
        return None
    p50, p95 = np.quantile(np.asarray(times_ms), (0.5, 0.95)).tolist()
    return Percentiles(p50, p95)


def offload_call(times: CallTimes, timeout_ms: float) -> CallCharge:
    """Return E[min(T_off, timeout)] in milliseconds and the share of calls without an answer in time.

    Both come from the calls themselves, so that a long tail of the distribution counts as it was measured.
    """
    answered, failed = np.asarray(times.times_ms, float), np.asarray(times.failed_ms, float)
    every = np.concatenate([answered, failed])
    late = int((answered > timeout_ms).sum())
    return CallCharge(float(np.minimum(every, timeout_ms).mean()), (late + len(failed)) / len(every))


def invalid_link(link: Link) -> str | None:
    """Return the reason why a document that was read cannot be charged by, or None."""
    numbers = [t for size in link.sizes for t in (*size.times_ms, *size.failed_ms)]
    if not link.sizes or not all(size.times_ms or size.failed_ms for size in link.sizes):
        return "it holds no times of calls"
    if not all(0 <= t < 1e9 for t in numbers) or not 0 < link.timeout_ms < 1e9:
        return "its times are no milliseconds"
    return None
