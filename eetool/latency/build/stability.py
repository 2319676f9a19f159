"""Whether a probe took alike from call to call."""

from eetool_measure.probe_timing import ProbeTime

# A probe is not used where its whole calls scatter more than this, as a share of their median.
STEADY = 0.05


def is_steady(probe: ProbeTime) -> bool:
    """Whether whole calls took alike."""
    return probe.latency_ms.mad <= STEADY * probe.latency_ms.median
