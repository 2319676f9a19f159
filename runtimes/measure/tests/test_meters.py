"""Power meters on files as a kernel, a firmware tool or a logger writes them."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import pytest

from eetool_measure.errors import MeterError
from eetool_measure.meters.base import (
    BOARD,
    CORE,
    ESTIMATED,
    CounterMeter,
    EnergyReading,
    Meter,
    SampledMeter,
    integrate,
)
from eetool_measure.meters.recorded import RecordedMeter
from eetool_measure.meters.registry import find_meter
from eetool_runtime.errors import UsageError
from tests.helpers.meter_contract import POWER_W, MeterContract, work

PMIC = """   3V7_WL_SW_A current(0)=0.10000000A
   VDD_CORE_A current(7)=5.00000000A
     3V7_WL_SW_V volt(8)=3.70000000V
   VDD_CORE_V volt(15)=0.80000000V
   EXT5V_V volt(24)=5.14986000V
"""


def write_vcgencmd(folder: Path, output: str = PMIC, code: int = 0) -> str:
    """Write a command with the output of the firmware."""
    path = folder / "vcgencmd"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\nexit {code}\n")
    path.chmod(0o755)
    try:
        subprocess.run([path], capture_output=True, check=False)
    except OSError:
        pytest.skip("this system starts no scripts, as where only Python is emulated")
    return str(path)


def test_pmic_command_that_cannot_start_raises_meter_error(tmp_path: Path) -> None:
    path = tmp_path / "vcgencmd"
    path.write_bytes(b"\x7fELF, and no program")
    path.chmod(0o755)
    with pytest.raises(MeterError, match="vcgencmd cannot be started"):
        find_meter("pmic", command=str(path))


def write_ina(root: Path, name: str = "ina226", number: int = 0, **files: str) -> Path:
    folder = root / f"class/hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    common = {
        "name": name,
        "curr1_input": "800",
        "in1_input": "5000",
        "power1_input": "4000000",
        "update_interval": "10",
    }
    for file, text in {**common, **files}.items():
        if text:
            (folder / file).write_text(f"{text}\n")
    return folder


class TestPmic(MeterContract):
    rail = CORE
    work_s = 0.3  # each reading is a process, and the machine may be busy

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        meter = find_meter("pmic", command=write_vcgencmd(tmp_path))
        meter.interval_s = 0.01
        return meter

    def break_it(self, tmp_path: Path) -> None:
        write_vcgencmd(tmp_path, "", code=1)


class TestPmicBoard(TestPmic):
    rail, provenance = BOARD, ESTIMATED
    power_w = 1.1451 * (4.0 + 0.37) + 0.5879  # the input's voltage has no current beside it and is no rail

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        meter = find_meter("pmic:board", command=write_vcgencmd(tmp_path))
        meter.interval_s = 0.01
        return meter


class TestIna226(MeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        write_ina(tmp_path)
        return find_meter("hwmon", root=tmp_path)

    def break_it(self, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "class")


class TestIna3221(MeterContract):
    """Three rails without a power register: volts times amperes of the named one."""

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        rails = {"in1_label": "VDD_IN", "in2_label": "VDD_CPU", "in2_input": "900", "curr2_input": "1000"}
        write_ina(tmp_path, "ina3221", power1_input="", **rails)
        return find_meter("hwmon:ina3221/VDD_IN", root=tmp_path)

    def break_it(self, tmp_path: Path) -> None:
        (tmp_path / "class/hwmon/hwmon0/curr1_input").write_text("nothing\n")


STEP_J = 0.24  # what the counters below have drawn more, each time they are read


class FakeRapl:
    """`energy_uj` of a package, updated before each reading."""

    def __init__(self, root: Path, begin_uj: int = 0, number: int = 0) -> None:
        self.folder = root / f"class/powercap/intel-rapl:{number}"
        self.folder.mkdir(parents=True)
        for name, text in (("name", f"package-{number}"), ("max_energy_range_uj", "262143328850")):
            (self.folder / name).write_text(text + "\n")
        self.drawn_uj = begin_uj
        self.update()

    def update(self) -> None:
        self.drawn_uj = (self.drawn_uj + int(STEP_J * 1e6)) % 262143328850
        (self.folder / "energy_uj").write_text(f"{self.drawn_uj}\n")


class TestRapl(MeterContract):
    rail = CORE
    begin_uj = 0

    def expected_j(self, actual: EnergyReading) -> float:
        return STEP_J

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        fake = FakeRapl(tmp_path, self.begin_uj)
        meter = find_meter("rapl", root=tmp_path)
        read_j = meter._read_j  # type: ignore[attr-defined]

        def updated() -> float:
            if fake.folder.exists():
                fake.update()
            return float(read_j())

        meter._read_j = updated  # type: ignore[attr-defined]
        return meter

    def break_it(self, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "class")


class TestRaplWraps(TestRapl):
    """The counter starts over after 262 kJ, here within the first window."""

    begin_uj = 262143328850 - 600_000


class TestReplay(MeterContract):
    breakable = False

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        path = tmp_path / "trace.csv"
        path.write_text("time,power_w\n" + "".join(f"{1000 + n / 100:.2f},{POWER_W}\n" for n in range(1000)))
        return find_meter(f"replay:{path}")


class TestLog(MeterContract):
    """A log with future rows, so that the test is fast."""

    @pytest.fixture
    def meter(self, tmp_path: Path) -> Meter:
        path = tmp_path / "usb.csv"
        begin = time.time() - 1
        path.write_text("time,power_w\n" + "".join(f"{begin + n / 100:.3f},{POWER_W}\n" for n in range(6000)))
        return find_meter(f"log:{path}")

    def break_it(self, tmp_path: Path) -> None:
        (tmp_path / "usb.csv").unlink()


class TestReferred(MeterContract):
    """`package.module:factory`, here a custom counter."""

    def expected_j(self, actual: EnergyReading) -> float:
        return STEP_J

    @pytest.fixture
    def meter(self, monkeypatch: pytest.MonkeyPatch) -> Meter:
        self.broken, drawn_j = False, itertools.count(0, STEP_J)

        def read_j() -> float:
            if self.broken:
                raise MeterError("the shunt is gone")
            return next(drawn_j)

        module = types.ModuleType("shop.meters")
        module.shunt = lambda: CounterMeter("shunt", BOARD, read_j, step_j=1e-3, interval_s=1e-3)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "shop", types.ModuleType("shop"))
        monkeypatch.setitem(sys.modules, "shop.meters", module)
        return find_meter("shop.meters:shunt")

    def break_it(self, tmp_path: Path) -> None:
        self.broken = True


def test_find_meter_none_raises_on_use() -> None:
    with pytest.raises(MeterError, match="no power meter"):
        find_meter("none").around(work)


@pytest.mark.parametrize("spec", ["watts", "pmic:core", "log:", "", "shunt:meter", "hwmonx"])
def test_find_meter_unknown_name_raises_usage_error(spec: str) -> None:
    with pytest.raises(UsageError, match="unknown power meter"):
        find_meter(spec)


@pytest.mark.parametrize("spec", ["pmic", "hwmon", "rapl", "log:/nowhere.csv", "replay:/nowhere.csv", "no.module:here"])
def test_find_meter_absent_hardware_raises_meter_error(spec: str, tmp_path: Path) -> None:
    with pytest.raises(MeterError):
        find_meter(spec, root=tmp_path, command="no-such-vcgencmd")


def test_find_meter_two_sensors_require_name(tmp_path: Path) -> None:
    write_ina(tmp_path)
    write_ina(tmp_path, "ina219", number=1)
    with pytest.raises(UsageError, match="matches 2 sensors") as raised:
        find_meter("hwmon", root=tmp_path)
    assert raised.value.hint == "Give one of hwmon:ina226/1, hwmon:ina219/1."
    assert find_meter("hwmon:ina219", root=tmp_path).name == "hwmon:ina219/1"


def test_sampled_meter_sleeps_between_readings() -> None:
    """The number of readings follows the interval: the sampler does not spin beside the measured process."""
    readings: list[float] = []

    def read_w() -> float:
        readings.append(time.monotonic())
        return POWER_W

    SampledMeter("fake", BOARD, read_w, interval_s=0.02).around(lambda: time.sleep(0.1))
    assert 2 <= len(readings) <= 6
    assert min(b - a for a, b in zip(readings, readings[1:])) >= 0.019


def test_counter_meter_constant_counter_raises_meter_error() -> None:
    with pytest.raises(MeterError, match="did not move"):
        CounterMeter("stuck", CORE, lambda: 5.0, step_j=1e-6, interval_s=1e-3).around(work)


def test_integrate_power_step_is_exact() -> None:
    """2 W up to 1 s, 6 W from 2 s on, linear in between; the window is [0.5, 2.5]."""
    samples = [(0.0, 2.0), (1.0, 2.0), (2.0, 6.0), (3.0, 6.0)]
    actual = integrate("fake", samples, 0.5, 2.5)
    assert actual.energy_j == pytest.approx(0.5 * 2 + 4 + 0.5 * 6)
    assert actual.uncertainty_j > 0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "too few"),
        ([(1.0, 2.0)], "too few"),
        ([(1.0, 2.0), (1.5, float("nan"))], "negative or not a number"),
        ([(1.0, 2.0), (1.5, -1.0)], "negative or not a number"),
    ],
)
def test_integrate_invalid_power_raises_meter_error(samples: Sequence[tuple[float, float]], message: str) -> None:
    with pytest.raises(MeterError, match=message):
        integrate("fake", samples, 0.0, 2.0)


@pytest.mark.parametrize(
    "text",
    ["", "time,power_w\n", "t,w\n1,2\n", "time,power_w\n1,two\n", "time,power_w\n2,1\n1,1\n", "time,power_w\n1\n"],
    ids=["empty", "no rows", "other columns", "no number", "backwards", "short"],
)
def test_read_trace_damaged_file_raises_meter_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.csv").write_text(text)
    with pytest.raises(MeterError, match=r"trace\.csv"):
        find_meter(f"replay:{tmp_path / 'trace.csv'}")


def test_read_trace_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,power_w\n1.0,2.0\n2.0,2.0\n3.0,")
    assert find_meter(f"log:{path}").interval_s == 1.0


def test_recorded_meter_short_trace_raises_meter_error() -> None:
    clock: Callable[[], float] = iter([0.5, 3.5]).__next__
    meter = RecordedMeter("short", BOARD, lambda: [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)], now=clock)
    with pytest.raises(MeterError, match=r"from 0.00 to 2.00 s, and the work ran from 0.50 to 3.50 s"):
        meter.around(lambda: None)


def test_recorded_meter_waits_for_log() -> None:
    """The row after the end of the work is written later."""
    calls = []

    def rows() -> list[tuple[float, float]]:
        calls.append(1)
        return [(n / 10, POWER_W) for n in range(5 + 4 * len(calls))]

    clock: Callable[[], float] = iter([0.1, 1.5]).__next__
    actual = RecordedMeter("log", BOARD, rows, now=clock, timeout_s=60).around(lambda: None)
    assert actual.energy_j == pytest.approx(1.4 * POWER_W)
    assert len(calls) > 2
