"""Stability of probe times."""

from eetool_measure.probe_timing import ProbeTime

# Largest median absolute deviation of a usable probe, as a share of its median.
STEADY = 0.05


def is_steady(probe: ProbeTime) -> bool:
    """Return whether the times of whole calls scatter little."""
    return probe.latency_ms.mad <= STEADY * probe.latency_ms.median
