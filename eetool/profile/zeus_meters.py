"""Energy counters of GPUs and Jetson boards, read through zeus (pip install eetool[power]).

`eetool_measure` itself reads RAPL, the PMIC of the Raspberry Pi 5 and INA chips, without a library.
"""

from eetool.errors import MissingError
from eetool_measure.meters.base import BOARD, CounterMeter, Meter

_MILLI = 1e-3
_INSTALL = "pip install eetool[power]"


def gpu() -> Meter:
    """Return the meter of the first NVIDIA or AMD GPU; its scope `board_*` covers the whole card.

    Raises:
        MissingError: zeus or its driver is not installed, or the card has no energy counter.
    """
    try:
        from zeus.device import get_gpus
    except ImportError as error:
        raise MissingError(f"the meter gpu needs zeus: {error}", _INSTALL) from None
    try:
        gpus = get_gpus()
        supported = gpus.supports_get_total_energy_consumption(0)
    except Exception as error:  # zeus passes on errors of the driver's library
        raise MissingError(f"no GPU can be read: {error}", "Is its driver loaded?") from None
    if not supported:
        raise MissingError("this GPU has no energy counter", "NVIDIA has them since Volta.")

    def read_j() -> float:
        return float(gpus.get_total_energy_consumption(0)) * _MILLI

    return CounterMeter("gpu", BOARD, read_j, step_j=_MILLI, interval_s=0.1)


def jetson() -> Meter:
    """Return the meter of a Jetson's input rail, which zeus samples ten times a second in a child process.

    Raises:
        MissingError: zeus is not installed, or this is not a Jetson with a sensor at its input.
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
