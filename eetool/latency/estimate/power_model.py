"""Energy from a power model, where nobody measured any: watts of the whole board times time."""

from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.table.hw_profile import HwProfile

ESTIMATED, BOARD_GROSS = "estimated", "board_gross"


def board_power_w(profile: HwProfile, threads: int) -> float | None:
    """Watts of the board with so many threads at work, from its published figures; None where they are not known.

    A straight line from idle to stress, which is all cores at work: idle + (stress − idle) × threads / cores.
    """
    known = {p.state: p.power_w for p in profile.power if p.scope == BOARD_GROSS}
    if not {"idle", "stress"} <= known.keys():
        return None
    return known["idle"] + (known["stress"] - known["idle"]) * min(1.0, threads / profile.facts.cores)


def estimate_energy(power_w: float | None, latency_ms: float) -> Energy:
    """Energy of the board over a latency: called `estimated`, and unknown where the watts are."""
    return UNKNOWN if power_w is None else Energy(power_w * latency_ms, ESTIMATED, BOARD_GROSS)
