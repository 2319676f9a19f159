"""The governor on recorded readings, and sensors in simulated kernel folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import UsageError
from eetool_runtime.governor import Governor, Rule, battery_percent, latency_ms, temperature_c
from eetool_runtime.testing import FakeClock, ScriptedAnswer, scripted
from tests.helpers.tiny_bundle import write_tiny_bundle

X = np.zeros((1, 3, 32, 32), np.float32)
POINTS = ("full", "balanced", "fast")


class Replay:
    """A reading and a clock that step through a trace of (seconds, value)."""

    def __init__(self, trace: list[tuple[float, Optional[float]]]) -> None:
        self._trace = iter(trace)
        self.now, self.value = 0.0, None

    def play(self, governor: Governor) -> Iterator[str]:
        for self.now, self.value in self._trace:  # noqa: B020
            yield governor.update()


def governed(replay: Replay, tighten: float, relax: float, **options: Any) -> Governor:
    rule = Rule("trace", lambda: replay.value, tighten, relax)
    return Governor(scripted([ScriptedAnswer("cat")]), [rule], points=POINTS, clock=lambda: replay.now, **options)


def test_update_heat_moves_down_with_hysteresis() -> None:
    heat = [(0, 60), (10, 76), (20, 74), (30, 76), (40, 90), (50, 69), (60, 68), (70, 70), (80, 50), (90, 50)]
    replay = Replay([(s, float(c)) for s, c in heat])
    governor = governed(replay, tighten=75, relax=68)
    moved = list(replay.play(governor))
    assert " ".join(moved) == "full balanced balanced fast fast fast balanced balanced full full"


def test_update_low_battery_tightens_below_limit() -> None:
    replay = Replay([(0, 80.0), (100, 20.0), (200, 25.0), (300, 15.0), (400, 31.0), (500, 50.0)])
    governor = governed(replay, tighten=20, relax=30)
    governor._model.use("full")
    assert list(replay.play(governor)) == ["full", "balanced", "balanced", "fast", "balanced", "full"]


def test_update_within_hold_time_does_not_move() -> None:
    replay = Replay([(float(s), 100.0) for s in range(0, 25)])
    governor = governed(replay, tighten=75, relax=68, hold_s=10)
    governor._model.use("full")
    assert list(replay.play(governor)) == ["balanced"] * 10 + ["fast"] * 15


def test_update_absent_sensor_is_ignored() -> None:
    replay = Replay([(0, None), (100, None)])
    assert list(replay.play(governed(replay, 75, 68))) == ["balanced", "balanced"]


def test_update_one_rule_tightens_and_all_must_relax() -> None:
    heat, charge = [90.0], [90.0]
    rules = [Rule("heat", lambda: heat[0], 75, 68), Rule("charge", lambda: charge[0], 20, 30)]
    governor = Governor(scripted([ScriptedAnswer("cat")]), rules, points=POINTS, hold_s=0)
    assert governor.update() == "fast"
    heat[0], charge[0] = 60, 25
    assert governor.update() == "fast"
    charge[0] = 40
    assert governor.update() == "balanced"


def test_latency_ms_counts_calls_since_last_move() -> None:
    clock = FakeClock()
    times = {"seg0": 1.0, "seg1": 10.0, "seg2": 10.0}
    model = scripted([ScriptedAnswer("cat", exit=1, confidence=0.7)], clock=clock, component_ms=times)
    rule = Rule("latency", latency_ms(model), tighten=15, relax=5)
    governor = Governor(model, [rule], points=("balanced", "fast"), hold_s=0, clock=lambda: clock.now_ns / 1e9)
    assert governor.update() == "balanced"
    for _ in range(30):
        model(X)  # 21 ms: its confidence lies below the threshold
    assert governor.update() == "fast"
    assert governor.update() == "fast"  # nothing was measured here yet
    for _ in range(30):
        model(X)
    assert governor.update() == "fast"  # 11 ms: between the two


def test_governor_default_points_are_ordered_by_cost_and_watchdog_stays(tmp_path: Path) -> None:
    model = ee.load(write_tiny_bundle(tmp_path))
    model.use("full", watch=(0.1, 0.2))
    governor = Governor(model, [Rule("heat", lambda: 99.0, 75, 68)], hold_s=0)
    macs = {n: p.expected.mean_macs for n, p in model.operating_points.items() if p.expected}
    assert governor.points == tuple(sorted(macs, key=lambda name: -macs[name]))
    moved = governor.update()
    assert moved == model.operating_point
    assert moved != governor.points[0] or governor.points[0] != "full"
    assert model.watch == (0.1, 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": ("full", "turbo")}, "unknown operating point 'turbo'"),
        ({"points": ("full",)}, "needs two operating points"),
        ({}, "needs two operating points"),
        ({"points": POINTS, "rules": [Rule("flat", lambda: 1.0, 5, 5)]}, "rule 'flat': tighten and relax must differ"),
    ],
)
def test_governor_invalid_arguments_raise_usage_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Governor(scripted([ScriptedAnswer("cat")]), options.pop("rules", []), **options)


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_temperature_c_returns_hottest_zone(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None
    zones = {"thermal_zone0": "48312\n", "thermal_zone1": "61500\n", "thermal_zone2": "broken\n"}
    assert temperature_c(lay(tmp_path, {f"sys/class/thermal/{z}/temp": t for z, t in zones.items()})) == 61.5


def test_battery_percent_charging_returns_none(tmp_path: Path) -> None:
    assert battery_percent(tmp_path) is None
    supply = "sys/class/power_supply"
    lay(
        tmp_path, {f"{supply}/AC/type": "Mains\n", f"{supply}/BAT0/type": "Battery\n", f"{supply}/BAT0/capacity": "7\n"}
    )
    lay(tmp_path, {f"{supply}/BAT0/status": "Charging\n"})
    assert battery_percent(tmp_path) is None
    lay(tmp_path, {f"{supply}/BAT0/status": "Discharging\n"})
    assert battery_percent(tmp_path) == 7


def test_sensors_of_this_machine_return_number_or_none() -> None:
    for actual in (temperature_c(), battery_percent()):
        assert actual is None or isinstance(actual, float)
