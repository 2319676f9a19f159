"""Sustained latency: a model in a closed loop for minutes, because small boards slow down when they heat up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from eetool_runtime.errors import UsageError
from eetool_runtime.records import dataclass

from .machine_state import MachineState, read_machine_state
from .timing import Clock, Latency, Subject, latency, without_garbage_collection

_WINDOWS = 60
_MIN_WINDOW_S = 1.0


@dataclass(frozen=True)
class SustainedWindow:
    """A window that began `at_s` seconds after the first call, and the state of the machine at its end."""

    at_s: float
    latency_ms: Latency
    condition: MachineState


@dataclass(frozen=True)
class Sustained:
    """Result of a sustained measurement; `slowdown` is the relative change from the first to the last tenth."""

    seconds: float
    operating_point: str
    slowdown: float
    windows: tuple[SustainedWindow, ...]


def measure_sustained(
    subject: Subject,
    operating_point: str,
    seconds: float,
    *,
    clock: Clock = time.perf_counter_ns,
    condition: Callable[[], MachineState] = read_machine_state,
) -> Sustained:
    """Call `subject` without a pause for `seconds`, in 60 windows of at least a second each.

    Raises:
        UsageError: `seconds` is not a positive number.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError(f"a sustained measurement needs a positive time, not {seconds!r} s")
    window_ns = max(_MIN_WINDOW_S, seconds / _WINDOWS) * 1e9
    windows: list[SustainedWindow] = []
    number = 0
    with without_garbage_collection():
        begin = clock()
        while clock() - begin < seconds * 1e9:
            at = clock()
            times: list[int] = []
            while not times or clock() - at < window_ns:
                start = clock()
                subject(number)
                times.append(clock() - start)
                number += 1
            windows.append(SustainedWindow((at - begin) / 1e9, latency(np.array(times)), condition()))
    medians = [window.latency_ms.median for window in windows]
    return Sustained(seconds, operating_point, _slowdown(medians), tuple(windows))


def _slowdown(medians: Sequence[float]) -> float:
    tenth = max(1, len(medians) // 10)
    return float(np.median(medians[-tenth:]) / np.median(medians[:tenth]) - 1)
