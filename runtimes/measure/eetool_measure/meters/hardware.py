"""Meters of the machine itself: the PMIC of a Raspberry Pi 5, sensors behind hwmon, and RAPL counters."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Optional

from eetool_runtime.errors import UsageError

from ..errors import MeterError
from .base import BOARD, CORE, ESTIMATED, CounterMeter, Meter, SampledMeter

_MILLI, _MICRO = 1e-3, 1e-6
# Board watts of a Raspberry Pi 5 from the sum of its PMIC rails: github jfikar/RPi5-power, README, commit 5fc9e93.
_PMIC_TO_BOARD, _PMIC_TO_BOARD_W = 1.1451, 0.5879
_PMIC_LINE = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)


def open_pmic(command: str, board: bool) -> Meter:
    """Open the PMIC of a Raspberry Pi 5, which the firmware reads; its 5 V input has no current sensor."""
    if shutil.which(command) is None:
        raise MeterError(
            f"{command} is not installed, so the PMIC cannot be read", "It comes with Raspberry Pi OS; Pi 5 only."
        )

    def read_w() -> float:
        try:
            result = subprocess.run([command, "pmic_read_adc"], capture_output=True, text=True, check=False)
        except OSError as error:
            raise MeterError(f"{command} cannot be started: {error}") from None
        values = {(rail, unit): float(value) for rail, unit, value in _PMIC_LINE.findall(result.stdout)}
        rails = {
            rail: amperes * values[rail, "V"]
            for (rail, unit), amperes in values.items()
            if unit == "A" and (rail, "V") in values
        }
        if result.returncode != 0 or "VDD_CORE" not in rails:
            raise MeterError(
                f"{command} pmic_read_adc has no VDD_CORE: {(result.stderr or result.stdout).strip()[:80]}"
            )
        return _PMIC_TO_BOARD * sum(rails.values()) + _PMIC_TO_BOARD_W if board else rails["VDD_CORE"]

    read_w()
    # A reading takes about 10 ms of another core; four a second have no measurable effect.
    if board:
        return SampledMeter("pmic:board", BOARD, read_w, interval_s=0.25, provenance=ESTIMATED)
    return SampledMeter("pmic", CORE, read_w, interval_s=0.25)


def open_hwmon(wanted: str, root: Path) -> Meter:
    """Open a sensor such as INA219, INA226 or INA3221 through its kernel driver: power in µW, or mV times mA."""
    sensors: dict[str, tuple[Path, str]] = {}
    for folder in sorted((root / "class/hwmon").glob("hwmon*")):
        chip = _text(folder / "name")
        for current in sorted(folder.glob("curr*_input")):
            channel = re.sub(r"\D", "", current.name)
            label = _text(folder / f"in{channel}_label") or _text(folder / f"curr{channel}_label")
            sensors[f"{chip}/{label or channel}"] = (folder, channel)
    matching = {name: place for name, place in sensors.items() if wanted in ("", name, name.split("/")[0])}
    if not sensors:
        raise MeterError("hwmon has no power sensor", "Load its driver, such as ina2xx, in the device tree.")
    if len(matching) != 1:
        raise UsageError(
            f"hwmon: {wanted or 'no name'} matches {len(matching)} sensors",
            f"Give one of hwmon:{', hwmon:'.join(sensors)}.",
        )
    (name, (folder, channel)) = next(iter(matching.items()))
    power = folder / f"power{channel}_input"

    def read_w() -> float:
        if power.exists():
            return _number(power) * _MICRO
        volts = folder / f"in{channel}_input"  # ina2xx numbers from 0, with the shunt's voltage first
        return _number(volts) * _MILLI * _number(folder / f"curr{channel}_input") * _MILLI

    read_w()
    update_ms = _text(folder / "update_interval")
    interval_s = int(update_ms) * _MILLI if update_ms and update_ms.isdecimal() else 0.1
    return SampledMeter(f"hwmon:{name}", BOARD, read_w, interval_s=max(interval_s, 0.01))


def open_rapl(root: Path) -> Meter:
    """Open the RAPL counters of Intel and AMD processors, one per package, in µJ, which wrap around."""
    packages = [
        folder
        for folder in sorted((root / "class/powercap").glob("intel-rapl:*"))
        if (_text(folder / "name") or "").startswith("package")
    ]
    if not packages:
        raise MeterError("this machine has no RAPL counters", "Virtual machines and most Arm processors have none.")
    wraps_at_j = _number(packages[0] / "max_energy_range_uj") * _MICRO
    last = [_number(folder / "energy_uj") * _MICRO for folder in packages]
    wrapped_j = [0.0] * len(packages)

    def read_j() -> float:
        for i, folder in enumerate(packages):
            now = _number(folder / "energy_uj") * _MICRO
            wrapped_j[i] += wraps_at_j if now < last[i] else 0.0
            last[i] = now
        return sum(last) + sum(wrapped_j)

    return CounterMeter("rapl", CORE, read_j, step_j=61e-6, interval_s=1e-3)


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
