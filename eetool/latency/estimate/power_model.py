"""Energy from a power model, for devices without measured energies: power of the whole board times latency."""

from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.table.hw_profile import HwProfile

ESTIMATED, BOARD_GROSS = "estimated", "board_gross"


def board_power_w(profile: HwProfile, threads: int) -> float | None:
    """Return the board's power in watts with this number of busy threads, or None without published figures.

    Interpolates linearly from idle to stress, where all cores are busy: idle + (stress − idle) × threads / cores.
    """
    known = {p.state: p.power_w for p in profile.power if p.scope == BOARD_GROSS}
    if not {"idle", "stress"} <= known.keys():
        return None
    return known["idle"] + (known["stress"] - known["idle"]) * min(1.0, threads / profile.facts.cores)


def estimate_energy(power_w: float | None, latency_ms: float) -> Energy:
    """Return the board's energy over a latency as an estimate; unknown where the power is unknown."""
    return UNKNOWN if power_w is None else Energy(power_w * latency_ms, ESTIMATED, BOARD_GROSS)
