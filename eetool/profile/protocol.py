"""How a bundle is to be measured: how long, and whether energy too."""

from dataclasses import dataclass

from eetool_measure.bundle_timing import MIN_SECONDS, RUNS, SEED
from eetool_measure.energy import NET

# Meters that a library reads; the measuring process loads them by reference.
METERS = {name: f"eetool.profile.zeus_meters:{name}" for name in ("gpu", "jetson")}


@dataclass(frozen=True)
class MeasurementProtocol:
    """How long to measure; see `docs/measuring.md`. Both bounds hold per thread count.

    `sustained_s`: seconds in which the model is then called without a pause, with the chosen thread count.
    """

    runs: int = RUNS
    min_seconds: float = MIN_SECONDS
    seed: int = SEED
    sustained_s: float | None = None


@dataclass(frozen=True)
class PowerOptions:
    """How to learn of energy: the name of a `meter`, or the `watts` of the board; see `docs/measuring.md`."""

    meter: str | None = None
    watts: float | None = None
    window_s: float | None = None
    scope: str = NET

    @property
    def words(self) -> tuple[str, ...]:
        """Options of `python -m eetool_measure`; none where nothing is to be learnt."""
        if self.watts is not None:
            return ("--watts", str(self.watts))
        if self.meter in (None, "none"):
            return ()
        window = () if self.window_s is None else ("--power-seconds", str(self.window_s))
        return ("--power", METERS.get(str(self.meter), str(self.meter)), "--power-scope", self.scope, *window)


THOROUGH, NO_POWER = MeasurementProtocol(), PowerOptions()
