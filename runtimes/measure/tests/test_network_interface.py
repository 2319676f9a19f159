"""Network interfaces: which of them are Wi-Fi, which saves power, and which leads to a host."""

from pathlib import Path

import pytest

from eetool_measure.network_interface import interface_to, power_save, wifi_interfaces


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of `sys` of a machine with a wired and two Wi-Fi interfaces, and without iw."""
    for name, inside in (("eth0", "statistics"), ("wlan0", "wireless"), ("wlan1", "phy80211")):
        (tmp_path / "sys/class/net" / name / inside).mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def set_parameter(root: Path, interface: str, value: str) -> None:
    folder = root / "sys/class/net" / interface / "device/driver/module/parameters"
    folder.mkdir(parents=True)
    (folder / "power_save").write_text(f"{value}\n")


def install_iw(root: Path, says: str) -> None:
    program = root / "bin/iw"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)


def test_wifi_interfaces_are_those_with_a_radio(root: Path, tmp_path: Path) -> None:
    assert wifi_interfaces(root) == ("wlan0", "wlan1")
    assert wifi_interfaces(tmp_path / "nowhere") == ()


def test_power_save_without_iw_is_the_drivers_parameter(root: Path) -> None:
    set_parameter(root, "wlan0", "Y")
    set_parameter(root, "wlan1", "0")
    assert [power_save(name, root) for name in ("wlan0", "wlan1", "eth0", "none")] == ["on", "off", None, None]


def test_power_save_unreadable_is_unknown(root: Path) -> None:
    assert power_save("wlan0", root) is None
    set_parameter(root, "wlan0", "auto")
    assert power_save("wlan0", root) is None


def test_power_save_of_iw_comes_first(root: Path) -> None:
    set_parameter(root, "wlan0", "N")
    install_iw(root, 'echo "Power save: on"')
    assert power_save("wlan0", root) == "on"


def test_power_save_where_iw_fails_is_the_drivers_parameter(root: Path) -> None:
    set_parameter(root, "wlan0", "N")
    install_iw(root, "exit 237")
    assert power_save("wlan0", root) == "off"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="needs Linux")
def test_interface_to_this_machine_is_the_loopback() -> None:
    assert interface_to("127.0.0.1", 80) == "lo"
