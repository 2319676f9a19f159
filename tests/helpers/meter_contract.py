"""Tests that every power meter must pass. The test class of a meter inherits them and simulates its hardware."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from eetool_measure.errors import MeterError
from eetool_measure.meters.base import BOARD, CORE, ESTIMATED, MEASURED, EnergyReading, Meter

POWER_W = 4.0


def work(seconds: float = 0.06) -> None:
    """Take long enough for a few readings."""
    time.sleep(seconds)


class MeterContract:
    """Tests of a meter. Subclasses define `meter`, of hardware that always draws `POWER_W`, and `break_it`."""

    rail = BOARD
    provenance = MEASURED
    breakable = True
    work_s = 0.06

    def work(self) -> None:
        work(self.work_s)

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        raise NotImplementedError

    def break_it(self, tmp_path: Path) -> None:
        """Remove the simulated hardware."""
        raise NotImplementedError

    def test_meter_describes_scope(self, meter: Meter) -> None:
        assert meter.name
        assert (meter.rail, meter.provenance) == (self.rail, self.provenance)
        assert meter.rail in (BOARD, CORE)
        assert meter.provenance in (MEASURED, ESTIMATED)
        assert meter.interval_s > 0

    def test_around_constant_power_is_power_times_time(self, meter: Meter) -> None:
        for _ in range(2):  # twice: windows are independent
            reading = meter.around(self.work)
            assert reading.seconds >= 0.05
            expected_j = self.expected_j(reading)
            assert reading.energy_j == pytest.approx(expected_j, abs=4 * reading.uncertainty_j + 0.02 * expected_j)
            assert 0 <= reading.uncertainty_j <= expected_j

    power_w = POWER_W

    def expected_j(self, reading: EnergyReading) -> float:
        return self.power_w * reading.seconds

    def test_around_failing_work_raises_its_error(self, meter: Meter) -> None:
        def failing() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            meter.around(failing)
        assert meter.around(self.work).energy_j > 0

    def test_around_leaves_no_thread(self, meter: Meter) -> None:
        before = threading.active_count()
        meter.around(self.work)
        assert threading.active_count() == before

    def test_around_lost_hardware_raises_meter_error(self, meter: Meter, tmp_path: Path) -> None:
        if not self.breakable:
            pytest.skip("a recording cannot be lost")
        self.break_it(tmp_path)
        with pytest.raises(MeterError):
            meter.around(self.work)
