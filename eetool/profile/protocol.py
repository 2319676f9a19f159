"""Options of a measurement: duration and energy."""

from dataclasses import dataclass

from eetool_measure.bundle_timing import MIN_SECONDS, PICTURE, RUNS, SEED
from eetool_measure.energy import NET

# Meters that need a library; the measuring process imports them by reference.
METERS = {name: f"eetool.profile.zeus_meters:{name}" for name in ("gpu", "jetson")}


@dataclass(frozen=True)
class MeasurementProtocol:
    """Duration of a measurement; see `docs/measuring.md`.

    Attributes:
        runs: least number of runs, per thread count.
        min_seconds: least duration, per thread count.
        seed: seed of the inputs.
        sustained_s: seconds of calls without a pause afterwards, with the chosen thread count.
        picture: height and width of the picture of which inputs are made.
    """

    runs: int = RUNS
    min_seconds: float = MIN_SECONDS
    seed: int = SEED
    sustained_s: float | None = None
    picture: tuple[int, ...] = PICTURE


@dataclass(frozen=True)
class PowerOptions:
    """Source of energy figures: the name of a `meter`, or the `watts` of the board; see `docs/measuring.md`."""

    meter: str | None = None
    watts: float | None = None
    window_s: float | None = None
    scope: str = NET

    @property
    def words(self) -> tuple[str, ...]:
        """Options of `python -m eetool_measure`; none without energy."""
        if self.watts is not None:
            return ("--watts", str(self.watts))
        if self.meter in (None, "none"):
            return ()
        window = () if self.window_s is None else ("--power-seconds", str(self.window_s))
        return ("--power", METERS.get(str(self.meter), str(self.meter)), "--power-scope", self.scope, *window)


THOROUGH, NO_POWER = MeasurementProtocol(), PowerOptions()
