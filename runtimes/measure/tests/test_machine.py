"""Facts about a machine from simulated /proc and /sys."""

from __future__ import annotations

from pathlib import Path

from eetool_measure.machine import read_machine
from eetool_measure.machine_state import MachineState, read_machine_state
from eetool_runtime.machine import usable_cores

PI = "processor\t: 0\nBogoMIPS\t: 108.00\nHardware\t: BCM2711\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_read_machine_board_has_all_facts(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": PI,
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        f"{CPUFREQ}/scaling_governor": "ondemand\n",
        f"{CPUFREQ}/scaling_cur_freq": "600000\n",
        f"{CPUFREQ}/cpuinfo_max_freq": "1500000\n",
    }
    machine = read_machine("onnxruntime", "1.32.0", root=write(tmp_path, files))
    assert machine.cpu == "BCM2711"
    assert machine.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert (machine.governor, machine.clock_mhz, machine.max_clock_mhz) == ("ondemand", 600.0, 1500.0)
    assert (machine.backend, machine.backend_version) == ("onnxruntime", "1.32.0")


def test_read_machine_server_has_no_board(tmp_path: Path) -> None:
    cpuinfo = "processor : 0\nmodel name : One CPU\n\nprocessor : 1\nmodel name : Another\n"
    assert read_machine(root=write(tmp_path, {"proc/cpuinfo": cpuinfo})).cpu == "One CPU"


def test_read_machine_without_files_is_none(tmp_path: Path) -> None:
    machine = read_machine(root=write(tmp_path, {f"{CPUFREQ}/scaling_cur_freq": "<unknown>\n"}))
    unread = (machine.board, machine.governor, machine.clock_mhz, machine.max_clock_mhz, machine.backend)
    assert unread == (None,) * 5
    assert machine.cores == usable_cores() >= 1
    assert machine.architecture
    assert machine.python


def test_read_machine_state_board_has_all_values(tmp_path: Path) -> None:
    flags = "sys/devices/platform/soc/soc:firmware/get_throttled"
    files = {
        f"{CPUFREQ}/scaling_governor": "performance\n",
        f"{CPUFREQ}/scaling_cur_freq": "1500000\n",
        "sys/class/thermal/thermal_zone0/temp": "61250\n",
        flags: "50000\n",  # it was slowed down, and is not now
    }
    assert read_machine_state(write(tmp_path, files)) == MachineState("performance", 1500.0, 61.25, False)
    assert read_machine_state(write(tmp_path, {flags: "50005\n"})).throttled is True
    assert read_machine_state(tmp_path / "nothing") == MachineState(None, None, None, None)
