"""Names of windowed signals: `signal:FILE@2/0.5` are windows of 2 s, every 0.5 s. No NumPy, so that a slip is told."""

import re
from dataclasses import dataclass

from eetool.data.source_names import SIGNAL
from eetool.errors import UsageError

_NUMBER = r"(\d+(?:\.\d+)?)"
_SUFFIX = re.compile(rf"(.+)@{_NUMBER}/{_NUMBER}(?:/{_NUMBER})?", re.DOTALL)
_SYNTAX = "signal:FILE@2/0.5 is windows of 2 s every 0.5 s, as --window 2 --step 0.5; signal:FILE@2/0.5/50 at 50 Hz."


@dataclass(frozen=True)
class Windows:
    """Windows that recordings are cut into.

    Attributes:
        window_s: length in seconds.
        step_s: seconds from one window to the next.
        rate_hz: samples per second; None for that in the file.
    """

    window_s: float
    step_s: float
    rate_hz: float | None = None

    def __str__(self) -> str:
        rate = "" if self.rate_hz is None else f"/{self.rate_hz:g}"
        return f"{self.window_s:g}/{self.step_s:g}{rate}"


def split_windows(path: str) -> tuple[str, Windows]:
    """Return the file in `FILE@2/0.5` and its windows.

    Raises:
        UsageError: there are none, or one has no length.
    """
    match = _SUFFIX.fullmatch(path)
    if match is None:
        raise UsageError(f"signal:{path} says not which windows its recordings are cut into", _SYNTAX)
    windows = Windows(float(match[2]), float(match[3]), None if match[4] is None else float(match[4]))
    if not (windows.window_s and windows.step_s and windows.rate_hz != 0):
        raise UsageError(f"signal:{path}: windows, steps and rates are above 0", _SYNTAX)
    return match[1], windows


def with_windows(name: str | None, window: float | None, step: float | None, rate: float | None) -> str | None:
    """Return the name of a source with the windows of options in it.

    Raises:
        UsageError: the options are for no signal, are incomplete, or the name has windows.
    """
    if window is None and step is None and rate is None:
        return name
    kind, _, path = (name or "").partition(":")
    if kind != SIGNAL or _SUFFIX.fullmatch(path):
        what = "has windows in its name" if kind == SIGNAL else "has no recordings to cut"
        raise UsageError(f"--window, --step and --rate are for --data signal:FILE; {name or 'no data'} {what}", _SYNTAX)
    if window is None or step is None:
        raise UsageError("--window and --step go together", _SYNTAX)
    return f"{name}@{Windows(window, step, rate)}"
