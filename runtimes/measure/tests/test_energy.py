"""The energy protocol on simulated meters and clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Optional

import numpy as np
import pytest

from eetool_measure import energy as energy_module
from eetool_measure.bundle_timing import measure_bundle
from eetool_measure.energy import GROSS, NET, EnergyMeter, energy_figure, estimate_energy, measure_energy
from eetool_measure.errors import MeterError
from eetool_measure.meters.base import BOARD, CORE, MEASURED, EnergyReading
from eetool_measure.results import FULL, Key
from eetool_runtime import open_bundle
from eetool_runtime.errors import UsageError
from tests.helpers.tiny_bundle import VARIANT

IDLE_W, BUSY_W, CALL_S = 2.0, 5.0, 0.01


class World:
    """A simulated machine whose clock advances by calls and sleeps, with a meter."""

    name, provenance, interval_s = "world", MEASURED, 0.05

    def __init__(self, rail: str = BOARD) -> None:
        self.rail, self.now, self.energy_j, self.busy = rail, 0.0, 0.0, 0

    def pass_time(self, seconds: float, power_w: float) -> None:
        self.now += seconds
        self.energy_j += seconds * power_w

    def sleep(self, seconds: float) -> None:
        self.pass_time(seconds, IDLE_W)

    def call(self, cost: float) -> Callable[[int], None]:
        return lambda number: self.pass_time(cost * CALL_S, BUSY_W)

    def around(self, work: Callable[[], None]) -> EnergyReading:
        begin_s, begin_j = self.now, self.energy_j
        work()
        return EnergyReading(self.energy_j - begin_j, 0.0, self.now - begin_s)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    simulated = World()
    monkeypatch.setattr(energy_module.time, "monotonic", lambda: simulated.now)
    return simulated


def subjects(world: World) -> dict[Key, Callable[[int], None]]:
    exits = {("exit", str(k)): world.call(k + 1.0) for k in range(3)}
    return {("component", "seg0"): world.call(0.5), **exits, FULL: world.call(2.5)}


def test_measure_energy_net_subtracts_idle_per_call(world: World) -> None:
    actual = measure_energy(subjects(world), world, threads=1, window_s=1.0, sleep=world.sleep)
    net_mj = (BUSY_W - IDLE_W) * CALL_S * 1e3
    assert actual.components["seg0"].value == pytest.approx(0.5 * net_mj)
    assert [at.value for at in actual.cascade] == pytest.approx([net_mj, 2 * net_mj, 3 * net_mj])
    assert actual.full.value == pytest.approx(2.5 * net_mj)
    assert (actual.scope, actual.provenance, actual.idle_w) == ("board_net", MEASURED, pytest.approx(IDLE_W))


def test_measure_energy_gross_keeps_idle(world: World) -> None:
    actual = measure_energy(subjects(world), world, threads=1, window_s=1.0, scope=GROSS, sleep=world.sleep)
    assert actual.cascade[0].value == pytest.approx(BUSY_W * CALL_S * 1e3)
    assert (actual.scope, actual.idle_w) == ("board_gross", None)


def test_measure_energy_gross_core_rail_raises_usage_error(world: World) -> None:
    world.rail = CORE
    assert measure_energy(subjects(world), world, threads=1, sleep=world.sleep).scope == "core_net"
    with pytest.raises(UsageError, match="net"):
        measure_energy(subjects(world), world, threads=1, scope=GROSS, sleep=world.sleep)


def test_measure_energy_window_holds_ten_readings(world: World) -> None:
    assert measure_energy(subjects(world), world, threads=1, sleep=world.sleep).window_s == pytest.approx(0.5)
    world.interval_s = 1.0
    assert measure_energy(subjects(world), world, threads=1, sleep=world.sleep).window_s == pytest.approx(10)


def test_measure_energy_one_window_raises_usage_error(world: World) -> None:
    with pytest.raises(UsageError, match="two windows"):
        measure_energy(subjects(world), world, threads=1, windows=1, sleep=world.sleep)


def test_energy_figure_interval_has_nominal_coverage() -> None:
    """1,000 measurements of 5 windows: between 94 and 97 % of the 95 % intervals hold the true energy."""
    draws = np.random.default_rng(7).normal(3.0, 0.2, (1000, 5))
    covered = 0
    for draw in draws:
        low, high = energy_figure(np.stack([draw, np.zeros(5)], axis=1)).ci95 or (9.0, 9.0)
        covered += low <= 3.0 <= high
    assert 940 <= covered <= 970


def test_energy_figure_meter_uncertainty_widens_interval() -> None:
    same = np.full(5, 3.0)
    for uncertainty, value in ((0.1, 3.0), (3.0, None)):
        actual = energy_figure(np.stack([same, np.full(5, uncertainty)], axis=1))
        assert actual.ci95 is not None
        half = 2.78 * uncertainty / 5**0.5
        assert actual.ci95 == pytest.approx((3 - half, 3 + half))
        assert actual.value == value


@pytest.mark.parametrize("mean", [0.0, -1.0, 0.1])
def test_energy_figure_wide_interval_has_no_value(mean: float) -> None:
    values = mean + np.array([-0.2, -0.1, 0.0, 0.1, 0.2])
    actual = energy_figure(np.stack([values, np.zeros(5)], axis=1))
    assert actual.value is None
    assert actual.ci95 is not None


def test_estimate_energy_is_latency_times_watts(tiny_bundle: Path) -> None:
    times = measure_bundle(open_bundle(tiny_bundle), VARIANT, runs=1, min_seconds=0).times
    actual = estimate_energy(times, 5.0)
    assert (actual.provenance, actual.scope, actual.idle_w) == ("estimated", "board_gross", None)
    assert actual.full.value == pytest.approx(5.0 * times.full.median)
    assert actual.components.keys() == {c.name for c in times.components}
    assert actual.references["unsplit"].ci95 is None


@pytest.mark.parametrize(
    ("meter", "watts", "window_s"),
    [
        ("hwmon", 5.0, None),
        (None, 0.0, None),
        (None, float("nan"), None),
        (None, float("inf"), None),
        ("none", None, -1.0),
    ],
)
def test_from_options_invalid_options_raise_usage_error(
    meter: Optional[str], watts: Optional[float], window_s: Optional[float]
) -> None:
    with pytest.raises(UsageError):
        EnergyMeter.from_options(meter, watts, window_s)


def test_from_options_without_meter_returns_none() -> None:
    assert EnergyMeter.from_options(None, None) is None
    assert EnergyMeter.from_options("none", None) is None
    with pytest.raises(MeterError):
        EnergyMeter.from_options("no.module:here", None, None, NET)
