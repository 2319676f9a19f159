"""Energy counters of GPUs and Jetson boards, read by zeus (pip install eetool[power]).

RAPL, the Pi 5's PMIC and the INA chips are read by the runtime itself, which needs no library for them.
"""

from eetool.errors import MissingError
from eetool_measure.meters.hardware import BOARD, CounterMeter, Meter

_MILLI = 1e-3
_INSTALL = "pip install eetool[power]"


def gpu() -> Meter:
    """The first NVIDIA or AMD GPU. The card is the board here: scope `board_*` is all that the card draws.

    Raises:
        MissingError: zeus or its driver is not there, or the card has no energy counter.
    """
    try:
        from zeus.device import get_gpus
    except ImportError as error:
        raise MissingError(f"the meter gpu needs zeus: {error}", _INSTALL) from None
    try:
        gpus = get_gpus()
        supported = gpus.supports_get_total_energy_consumption(0)
    except Exception as error:  # zeus hands on what the driver's library raises
        raise MissingError(f"no GPU can be read: {error}", "Is its driver loaded?") from None
    if not supported:
        raise MissingError("this GPU has no energy counter", "NVIDIA has them since Volta.")

    def read_j() -> float:
        return float(gpus.get_total_energy_consumption(0)) * _MILLI

    return CounterMeter("gpu", BOARD, read_j, step_j=_MILLI, interval_s=0.1)


def jetson() -> Meter:
    """The input rail of a Jetson, which zeus adds up ten times a second in a process of its own.

    Raises:
        MissingError: zeus is not there, or this is no Jetson with a sensor at its input.
    """
    try:
        from zeus.device.soc.jetson import Jetson
    except ImportError as error:
        raise MissingError(f"the meter jetson needs zeus: {error}", _INSTALL) from None
    try:
        board = Jetson()
    except Exception as error:
        raise MissingError(f"no Jetson can be read: {error}", "On other boards: --power hwmon.") from None

    def read_j() -> float:
        total_mj = board.get_total_energy_consumption().total_energy_mj
        if total_mj is None:
            raise MissingError("this Jetson has no sensor at its input", "--power hwmon lists the rails it has.")
        return float(total_mj) * _MILLI

    read_j()
    return CounterMeter("jetson", BOARD, read_j, step_j=_MILLI, interval_s=0.1)
