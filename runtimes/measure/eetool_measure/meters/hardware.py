"""Power meters: what each one reads, and the energy of a piece of work by it.

A meter that finds no hardware, or loses it, raises `MeterError`: no reading is ever taken for 0. `docs/measuring.md`
lists the meters and what they cover.
"""

from __future__ import annotations

import csv
import importlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Optional, Protocol

import numpy as np

from eetool_runtime.errors import UsageError
from eetool_runtime.records import dataclass

from ..errors import MeterError

BOARD, CORE = "board", "core"  # what a meter sees: everything the supply feeds, or the processor's rail alone
MEASURED, ESTIMATED = "measured", "estimated"
METERS = ("pmic", "pmic:board", "hwmon[:NAME]", "rapl", "log:FILE", "replay:FILE", "package.module:factory", "none")

_SYS = Path("/sys")
_MILLI, _MICRO = 1e-3, 1e-6
# Board watts of a Raspberry Pi 5 from the sum of its PMIC rails: github jfikar/RPi5-power, README, commit 5fc9e93.
_PMIC_TO_BOARD, _PMIC_TO_BOARD_W = 1.1451, 0.5879
_PMIC_LINE = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)


@dataclass(frozen=True)
class EnergyReading:
    """Energy of one piece of work of `seconds`; `uncertainty_j` is the standard uncertainty of the meter's part."""

    energy_j: float
    uncertainty_j: float
    seconds: float


class Meter(Protocol):
    """Reads the energy of a piece of work. `interval_s` is the time between two readings that differ.

    `rail` is `board` or `core`, `provenance` `measured`, or `estimated` where a power model stands in between.
    """

    name: str
    rail: str
    provenance: str
    interval_s: float

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Run `work` and say what it took. Raises MeterError where that cannot be said, and what `work` raises."""


class CounterMeter:
    """A meter whose hardware adds up the energy itself: read before and after, and nothing in between."""

    provenance = MEASURED

    def __init__(
        self,
        name: str,
        rail: str,
        read_j: Callable[[], float],
        *,
        step_j: float,
        interval_s: float,
        wraps_at_j: Optional[float] = None,
    ) -> None:
        self.name, self.rail, self.interval_s = name, rail, interval_s
        self._read_j, self._step_j, self._wraps_at_j = read_j, step_j, wraps_at_j

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """See `Meter.around`."""
        begin, before_j = time.monotonic(), self._read_j()
        work()
        energy_j, seconds = self._read_j() - before_j, time.monotonic() - begin
        if energy_j < 0 and self._wraps_at_j is not None:
            energy_j += self._wraps_at_j
        if energy_j <= 0:
            raise MeterError(f"{self.name}: its counter did not move in {seconds:.2f} s")
        # The counter stands still between two updates, so either reading may be one update old.
        late_j = energy_j * min(1.0, self.interval_s / seconds)
        return EnergyReading(energy_j, (self._step_j**2 / 6 + late_j**2 / 6) ** 0.5, seconds)


class SampledMeter:
    """A meter that tells watts: a thread reads them every `interval_s` and sleeps in between."""

    def __init__(
        self, name: str, rail: str, read_w: Callable[[], float], *, interval_s: float, provenance: str = MEASURED
    ) -> None:
        self.name, self.rail, self.interval_s, self.provenance = name, rail, interval_s, provenance
        self._read_w = read_w

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """See `Meter.around`."""
        samples: list[tuple[float, float]] = []
        problems: list[Exception] = []
        done = threading.Event()

        def sample() -> None:
            try:
                while not done.is_set():
                    samples.append((time.monotonic(), self._read_w()))
                    done.wait(self.interval_s)
            except Exception as problem:  # raised below, where the caller is
                problems.append(problem)

        thread = threading.Thread(target=sample, name=f"{self.name} meter", daemon=True)
        begin = time.monotonic()
        thread.start()
        try:
            work()
        finally:
            end = time.monotonic()
            done.set()
            thread.join()
        if problems:
            raise problems[0]
        return integrate(self.name, samples, begin, end)


class RecordedMeter:
    """Power that was recorded: `rows` of (seconds, watts) on the clock `now`, or reckoned from the first window on.

    `rows` is called after the work, and again until it reaches the end of the window or `patience_s` have passed, so
    that another program may still be writing.
    """

    provenance = MEASURED

    def __init__(
        self,
        name: str,
        rail: str,
        rows: Callable[[], Sequence[tuple[float, float]]],
        *,
        now: Callable[[], float],
        patience_s: float = 0.0,
    ) -> None:
        self.name, self.rail, self._rows, self._now, self._patience_s = name, rail, rows, now, patience_s
        at = [second for second, _ in rows()]
        self.interval_s = float(np.median(np.diff(at))) if len(at) > 1 else 1.0

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """See `Meter.around`."""
        begin = self._now()
        work()
        end, patience = self._now(), time.monotonic() + self._patience_s
        rows = self._rows()
        while (not rows or rows[-1][0] < end) and time.monotonic() < patience:
            time.sleep(min(self.interval_s, 0.5))
            rows = self._rows()
        if not rows or rows[0][0] > begin or rows[-1][0] < end:
            span = f"from {rows[0][0]:.2f} to {rows[-1][0]:.2f} s" if rows else "nothing"
            raise MeterError(
                f"{self.name}: it holds {span}, and the work ran from {begin:.2f} to {end:.2f} s",
                "Time is in seconds: of a log Unix time, of a replay from its first row on.",
            )
        return integrate(self.name, rows, begin, end)


class NullMeter:
    """Stands where there is no meter: whoever asks it for energy gets an error and not a number."""

    name, rail, provenance, interval_s = "none", BOARD, MEASURED, 0.0

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Raises MeterError, always."""
        raise MeterError("there is no power meter, so no energy is known", f"Known meters: {', '.join(METERS)}.")


def integrate(name: str, samples: Sequence[tuple[float, float]], begin: float, end: float) -> EnergyReading:
    """Energy between `begin` and `end` of (seconds, watts): straight lines between samples, level beyond them.

    The uncertainty takes the samples for independent draws of the power: seconds × deviation / √(samples).

    Raises:
        MeterError: fewer than two samples fall into the window, or one of them is no power.
    """
    at, power_w = (np.array(column, np.float64) for column in zip(*samples)) if samples else (np.zeros(0),) * 2
    if not np.all(np.isfinite(power_w)) or np.any(power_w < 0):
        raise MeterError(f"{name}: it gave a power that is negative or not a number")
    inside = (at >= begin) & (at <= end)
    count = int(inside.sum())
    if count < 2:
        raise MeterError(
            f"{name}: {count} readings in {end - begin:.2f} s are too few",
            "Measure longer at a time, with --power-seconds.",
        )
    grid = np.concatenate(([begin], at[inside], [end]))
    watts = np.interp(grid, at, power_w)
    energy_j = float(np.sum((watts[1:] + watts[:-1]) / 2 * np.diff(grid)))
    spread_w = float(np.std(power_w[inside], ddof=1))
    return EnergyReading(energy_j, (end - begin) * spread_w / count**0.5, end - begin)


def find_meter(spec: str, root: Path = _SYS, command: str = "vcgencmd") -> Meter:
    """The meter that `spec` names; `METERS` lists the forms. `root` is where sysfs lies.

    Raises:
        UsageError: no meter has such a name, or it fits several sensors.
        MeterError: it is not on this machine, may not be read, or its file is not a trace.
    """
    kind, _, rest = spec.partition(":")
    if spec == "none":
        return NullMeter()
    if spec in ("pmic", "pmic:board"):
        return _pmic(command, board=rest == "board")
    if kind == "hwmon":
        return _hwmon(rest, root)
    if spec == "rapl":
        return _rapl(root)
    if kind in ("log", "replay") and rest:
        return _trace(kind, Path(rest))
    if "." in kind and rest.isidentifier():
        return _referred(kind, rest)
    raise UsageError(f"unknown power meter {spec!r}", f"Known meters: {', '.join(METERS)}.")


def _pmic(command: str, board: bool) -> Meter:
    """Raspberry Pi 5: the regulator's own converters, which the firmware reads; the 5 V input has no current."""
    if shutil.which(command) is None:
        raise MeterError(f"{command} is not there, so no PMIC can be read", "It comes with Raspberry Pi OS; Pi 5 only.")

    def read_w() -> float:
        try:
            said = subprocess.run([command, "pmic_read_adc"], capture_output=True, text=True, check=False)
        except OSError as error:
            raise MeterError(f"{command} cannot be started: {error}") from None
        found = {(rail, unit): float(value) for rail, unit, value in _PMIC_LINE.findall(said.stdout)}
        rails = {
            rail: found[rail, "A"] * found[rail, "V"] for rail, unit in found if unit == "A" and (rail, "V") in found
        }
        if said.returncode != 0 or "VDD_CORE" not in rails:
            raise MeterError(
                f"{command} pmic_read_adc does not tell VDD_CORE: {(said.stderr or said.stdout).strip()[:80]}"
            )
        return _PMIC_TO_BOARD * sum(rails.values()) + _PMIC_TO_BOARD_W if board else rails["VDD_CORE"]

    read_w()
    # A reading costs some 10 ms of another core: four a second are felt nowhere.
    if board:
        return SampledMeter("pmic:board", BOARD, read_w, interval_s=0.25, provenance=ESTIMATED)
    return SampledMeter("pmic", CORE, read_w, interval_s=0.25)


def _hwmon(wanted: str, root: Path) -> Meter:
    """INA219, INA226, INA3221 and others through the kernel's drivers: power in µW, or mV times mA."""
    found: dict[str, tuple[Path, str]] = {}
    for folder in sorted((root / "class/hwmon").glob("hwmon*")):
        chip = _text(folder / "name")
        for current in sorted(folder.glob("curr*_input")):
            channel = re.sub(r"\D", "", current.name)
            label = _text(folder / f"in{channel}_label") or _text(folder / f"curr{channel}_label")
            found[f"{chip}/{label or channel}"] = (folder, channel)
    fits = {name: place for name, place in found.items() if wanted in ("", name, name.split("/")[0])}
    if not found:
        raise MeterError("no power sensor is known to hwmon", "Load its driver, such as ina2xx, in the device tree.")
    if len(fits) != 1:
        raise UsageError(
            f"hwmon: {wanted or 'no name'} fits {len(fits)} sensors", f"Give one of hwmon:{', hwmon:'.join(found)}."
        )
    (name, (folder, channel)) = next(iter(fits.items()))
    power = folder / f"power{channel}_input"

    def read_w() -> float:
        if power.exists():
            return _number(power) * _MICRO
        volts = folder / f"in{channel}_input"  # ina2xx counts from 0 with the shunt's voltage first
        return _number(volts) * _MILLI * _number(folder / f"curr{channel}_input") * _MILLI

    read_w()
    update_ms = _text(folder / "update_interval")
    interval_s = int(update_ms) * _MILLI if update_ms and update_ms.isdecimal() else 0.1
    return SampledMeter(f"hwmon:{name}", BOARD, read_w, interval_s=max(interval_s, 0.01))


def _rapl(root: Path) -> Meter:
    """Intel and AMD processors: counters of each package, in µJ, since the last wrap."""
    packages = [
        folder
        for folder in sorted((root / "class/powercap").glob("intel-rapl:*"))
        if (_text(folder / "name") or "").startswith("package")
    ]
    if not packages:
        raise MeterError("this machine has no RAPL counters", "Virtual machines and most Arm processors have none.")
    wraps_at_j = _number(packages[0] / "max_energy_range_uj") * _MICRO
    last = [_number(folder / "energy_uj") * _MICRO for folder in packages]
    turns = [0.0] * len(packages)

    def read_j() -> float:
        for i, folder in enumerate(packages):
            now = _number(folder / "energy_uj") * _MICRO
            turns[i] += wraps_at_j if now < last[i] else 0.0
            last[i] = now
        return sum(last) + sum(turns)

    return CounterMeter("rapl", CORE, read_j, step_j=61e-6, interval_s=1e-3)


def _trace(kind: str, path: Path) -> Meter:
    """A CSV file `time,power_w`: of a meter that writes now, in Unix time, or of one that wrote once."""
    if kind == "log":
        return RecordedMeter(f"log:{path.name}", BOARD, partial(read_trace, path), now=time.time, patience_s=10.0)
    recorded, begin = read_trace(path), time.monotonic()
    first = recorded[0][0]
    return RecordedMeter(f"replay:{path.name}", BOARD, lambda: recorded, now=lambda: time.monotonic() - begin + first)


def read_trace(path: Path) -> list[tuple[float, float]]:
    """Rows (seconds, watts) of a CSV file with the columns `time` and `power_w`; a last line in the making is left out.

    Raises:
        MeterError: the file cannot be read, has no such columns or no row, or a row is not two numbers in order.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeterError(f"{path}: cannot be read: {error}") from None
    lines = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    rows: list[tuple[float, float]] = []
    for line in lines:
        try:
            rows.append((float(line["time"]), float(line["power_w"])))
        except (KeyError, TypeError, ValueError):
            at = f"{path}: line {lines.line_num}"
            raise MeterError(
                f"{at}: not a time and a power", "The first line is `time,power_w`: seconds, watts."
            ) from None
        if len(rows) > 1 and rows[-1][0] <= rows[-2][0]:
            raise MeterError(f"{path}: line {lines.line_num}: its time is not after the one before")
    if not rows:
        raise MeterError(f"{path}: holds no rows", "The first line is `time,power_w`: seconds, watts.")
    return rows


def _referred(module: str, factory: str) -> Meter:
    """`package.module:factory`, called without arguments."""
    try:
        meter: Meter = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise MeterError(f"{module}:{factory} is no meter here: {error}") from None
    return meter


def _number(path: Path) -> float:
    text = _text(path)
    try:
        return float(text or "")
    except ValueError:
        hint = "Only root may read it: sudo, or a udev rule." if path.exists() and text is None else None
        raise MeterError(f"{path} cannot be read as a number", hint) from None


def _text(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
