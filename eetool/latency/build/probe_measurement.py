"""Measurement of a batch of probe networks by a runner, on this machine or another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from eetool.errors import EarlyExitError
from eetool.latency.build.stability import is_steady
from eetool.latency.probes.probe_files import ProbeKind, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool.progress import Advance
from eetool.workspace import scratch
from eetool_measure.probe_timing import ProbeTime, ProbeTimes


class Runner(Protocol):
    """Run of `python -m eetool_measure` on a folder of probes, here or on a device."""

    def __call__(
        self, kind: type[ProbeTimes], path: Path, options: dict[str, object], *, advance: Advance | None = None
    ) -> ProbeTimes:
        """Return the document of the type `kind`; `advance` receives the number of measured probes."""


class NoProbeWrittenError(EarlyExitError):
    """No network of a batch could be written; about one in twenty int8 networks cannot."""


def measure_probe_networks(
    networks: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, advance: Advance, run: Runner
) -> ProbeTimes:
    """Write probe files, measure them, and delete them; scattering networks are measured twice.

    Args:
        networks: the networks to measure.
        kind: format and precision of the files.
        threads: thread count.
        runs: timed calls of each network.
        advance: receives the number of measured networks; those that are measured twice count once.
        run: measures the folder of files.

    Returns:
        The times; of a network that was measured twice those that scatter less.

    Raises:
        NoProbeWrittenError: none of the networks could be written.
    """
    times = _measure_once(networks, kind, threads, runs, run, advance)
    scattering = {probe.name for probe in times.probes if not is_steady(probe)}
    again = [net for net in networks if net.name in scattering]
    if not again:
        return times
    second = {probe.name: probe for probe in _measure_once(again, kind, threads, runs, run).probes}
    steadier = tuple(_steadier(probe, second.get(probe.name, probe)) for probe in times.probes)
    return ProbeTimes(**{**vars(times), "probes": steadier})


def _steadier(one: ProbeTime, other: ProbeTime) -> ProbeTime:
    return min(one, other, key=lambda probe: probe.latency_ms.mad / probe.latency_ms.median)


def _measure_once(
    networks: Sequence[ProbeNetwork],
    kind: ProbeKind,
    threads: int,
    runs: int,
    run: Runner,
    advance: Advance | None = None,
) -> ProbeTimes:
    with scratch() as folder:
        path = folder / "probes"
        if not write_probes(path, networks, kind):
            raise NoProbeWrittenError(f"none of {len(networks)} networks could be written as {kind.name}")
        return run(ProbeTimes, path, {"--threads": threads, "--runs": runs, "--min-seconds": 0}, advance=advance)
