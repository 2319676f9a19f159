"""Measurement of the link to a model server: real requests of a bundle, one after the other, on the device itself."""

import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from eetool.errors import MissingError, UsageError
from eetool.export.offload.cut import find_cut
from eetool.export.offload.split_answers import SplitAnswers
from eetool.latency.estimate.link import CallTimes, Link, percentiles
from eetool.progress import SILENT, Advance, Progress
from eetool_measure.machine import read_machine
from eetool_measure.network_interface import interface_to, power_save
from eetool_runtime import Bundle
from eetool_runtime.offload import Offload, OffloadError, errors, open_client
from eetool_runtime.offload.client import InferenceClient
from eetool_runtime.offload.link_stats import OK
from eetool_runtime.offload.server_tail import ServerTail

_READY_S = 10.0
_WARM_UP = 5
_LARGER = 8  # inputs of the larger requests
_CONNECTIONS = 20
_REMEDY = "Start it with the folder of models that `eetool export` wrote."
_REMEDIES = {
    errors.CERTIFICATE: "Give its authority with --offload-ca, and in the URL the name that its certificate has.",
    errors.UNAUTHORISED: "Give a valid token in EETOOL_OFFLOAD_TOKEN or --offload-token-file, or a certificate.",
    errors.UNREACHABLE: "Check the URL and the network.",
    errors.TIMEOUT: "Check the URL and the network.",
    errors.REDIRECTED: "Give the address that it names.",
    errors.PROTOCOL: "Give the URL of a server of the Open Inference Protocol v2.",
}


@dataclass(frozen=True)
class LinkRules:
    """Settings of a measurement.

    Attributes:
        calls: of one input.
        pause_ms: before each call. A Wi-Fi interface that saves power sleeps only between calls.
    """

    calls: int = 200
    pause_ms: float = 20.0


def profile_link(
    bundle: Bundle, variant: str, offload: Offload, rules: LinkRules, device: str, progress: Progress = SILENT
) -> Link:
    """Send samples of `bundle` to its server as the runtime does, and return the times.

    A call begins with the tensors of the device, so that its time includes the encoding and the check of the answer.

    Args:
        bundle: a bundle that asks a server.
        variant: the variant that runs on the device.
        offload: address of the server, timeout and credentials.
        rules: settings.
        device: name of this device.
        progress: observer.

    Raises:
        UsageError: the bundle asks no server, or not from this variant.
        MissingError: the server does not answer, or lacks the model.
    """
    spec = bundle.manifest.offload
    if spec is None or variant not in spec.variants:
        problem = "asks no server" if spec is None else f"does not ask a server from {variant}"
        raise UsageError(
            f"{bundle.path} {problem}",
            f"Export what lies behind an exit first: eetool export {bundle.path} --offload K --wire WIRE "
            "--repository DIR.",
        )
    endpoint = offload.endpoint
    client = open_client(offload)
    try:
        _require_ready(client, spec.model, endpoint.host_and_port)
        caller = _Caller(client, bundle, variant, offload)
        with progress("calls of the server", rules.calls + rules.calls // _LARGER) as advance:
            sizes = [caller.measure(1, rules.calls, rules.pause_ms, advance)]
            if caller.samples >= _LARGER:
                sizes.append(caller.measure(_LARGER, rules.calls // _LARGER, rules.pause_ms, advance))
    finally:
        client.close()
    trips = _connections(endpoint.host, endpoint.port)
    interface = interface_to(endpoint.host, endpoint.port)
    calls = sum(size.n for size in sizes)
    round_trip = percentiles(trips)
    return Link(
        url_host=endpoint.host_and_port,
        protocol="grpc" if endpoint.is_grpc else "rest",
        secure=endpoint.is_encrypted,
        model=spec.model,
        device=device,
        machine=read_machine(),
        timeout_ms=offload.timeout_ms,
        sizes=tuple(sizes),
        round_trip_ms=round_trip,
        throughput_mbit_s=_throughput(sizes, 0.0 if round_trip is None else round_trip.p50),
        server_ms=None,
        failures=sum(len(size.failed_ms) for size in sizes) / calls,
        interface=interface,
        power_save=None if interface is None else power_save(interface),
    )


def _require_ready(client: InferenceClient, model: str, server: str) -> None:
    problem, remedy = "it is not ready, or has no such model", _REMEDY
    try:
        if client.ready(model, _READY_S):
            return
    except OffloadError as error:
        problem, remedy = error.message, _REMEDIES.get(error.kind, _REMEDY)
    raise MissingError(f"{server} does not serve {model}: {problem}", remedy)


class _Caller:
    """Sender of a bundle's samples, as the runtime sends them."""

    def __init__(self, client: InferenceClient, bundle: Bundle, variant: str, offload: Offload) -> None:
        spec = bundle.manifest.offload
        assert spec is not None
        self._tail = ServerTail(bundle.manifest, spec.variants[variant], offload, client)
        self._split = SplitAnswers(bundle, variant, find_cut(bundle.manifest, spec.after_exit), spec.inputs)
        inputs = bundle.arrays(bundle.manifest.samples)
        self._boundary = self._split.boundary(inputs)
        self.samples = len(next(iter(inputs.values())))

    def measure(self, count: int, calls: int, pause_ms: float, advance: Advance) -> CallTimes:
        """Send `calls` requests of `count` inputs each, after some that are not counted."""
        answered: list[float] = []
        failed: list[float] = []
        kinds: Counter[str] = Counter()
        for number in range(calls + _WARM_UP):
            time.sleep(pause_ms / 1e3)
            start = (number * count) % (self.samples - count + 1)
            tensors = {name: array[start : start + count] for name, array in self._boundary.items()}
            began = time.perf_counter_ns()
            outcome = self._tail.attempt(tensors, count).outcome
            elapsed_ms = (time.perf_counter_ns() - began) / 1e6
            self._tail.breaker.request_succeeded()  # the next request is sent whatever became of this one
            if number >= _WARM_UP:
                advance(1)
                (answered if outcome == OK else failed).append(round(elapsed_ms, 4))
                kinds.update([] if outcome == OK else [outcome])
        sent = self._split.sent({name: array[:count] for name, array in self._boundary.items()})
        found = percentiles(answered)
        return CallTimes(
            bytes=sum(array.nbytes for array in sent.values()),
            p50_ms=None if found is None else found.p50,
            p95_ms=None if found is None else found.p95,
            n=calls,
            times_ms=tuple(sorted(answered)),
            failed_ms=tuple(sorted(failed)),
            failures=dict(sorted(kinds.items())),
        )


def _connections(host: str, port: int) -> list[float]:
    """Return the times of opening connections in milliseconds: one round trip each, whatever the server speaks."""
    times = []
    for _ in range(_CONNECTIONS):
        began = time.perf_counter_ns()
        with suppress(OSError):
            socket.create_connection((host, port), _READY_S).close()
            times.append((time.perf_counter_ns() - began) / 1e6)
    return times


def _throughput(sizes: Sequence[CallTimes], round_trip_ms: float) -> float | None:
    """Return the least throughput in Mbit/s that the largest requests show: their bits by the time beyond a trip."""
    largest = max(sizes, key=lambda size: size.bytes)
    if largest.p50_ms is None or largest.p50_ms <= round_trip_ms:
        return None
    return 8e-3 * largest.bytes / (largest.p50_ms - round_trip_ms)
