"""Network interfaces of this machine: which one leads to a host, and whether its Wi-Fi saves power.

A Wi-Fi interface that saves power sleeps between beacons, so that an answer can wait for tens of milliseconds.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Optional

from eetool_runtime.machine import ROOT, first_line

_NETWORK = "sys/class/net"
_GET_ADDRESS = 0x8915  # SIOCGIFADDR of Linux
_NAME_BYTES = 16  # of an interface, in the kernel's structures
_TIMEOUT_S = 5.0
ON, OFF = "on", "off"
_SWITCHES = {"Y": ON, "1": ON, "N": OFF, "0": OFF}


def wifi_interfaces(root: Path = ROOT) -> tuple[str, ...]:
    """Return the names of the Wi-Fi interfaces; `root` is the folder of `proc` and `sys`."""
    folder = root / _NETWORK
    with suppress(OSError):
        return tuple(
            sorted(p.name for p in folder.iterdir() if any((p / k).exists() for k in ("wireless", "phy80211")))
        )
    return ()


def power_save(interface: str, root: Path = ROOT) -> Optional[str]:
    """Return `on` or `off` for a Wi-Fi interface, None for another one or where it cannot be read.

    `iw` tells it of the interface; without it, the driver's parameter under `sys` does.
    """
    if interface not in wifi_interfaces(root):
        return None
    with suppress(OSError, subprocess.SubprocessError):
        command = ["iw", "dev", interface, "get", "power_save"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        state = done.stdout.strip().rpartition(" ")[2].lower()
        if state in (ON, OFF):
            return state
    parameter = root / _NETWORK / interface / "device/driver/module/parameters/power_save"
    return _SWITCHES.get(first_line(parameter) or "")


def interface_to(host: str, port: int) -> Optional[str]:
    """Return the name of the interface that packets to `host` leave by; None where it cannot be found."""
    with suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # of a datagram socket: nothing is sent
            own = probe.getsockname()[0]
        names = [name for _, name in socket.if_nameindex()]
        if family == socket.AF_INET:
            return next((name for name in names if _ipv4_address(name) == own), None)
        return _ipv6_interface(own)
    return None


def _ipv4_address(interface: str) -> Optional[str]:
    import fcntl

    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", interface.encode()[: _NAME_BYTES - 1])
        return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _GET_ADDRESS, request)[20:24])
    return None


def _ipv6_interface(address: str, root: Path = ROOT) -> Optional[str]:
    digits = socket.inet_pton(socket.AF_INET6, address.partition("%")[0]).hex()
    with suppress(OSError):
        for line in (root / "proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields and fields[0] == digits:
                return fields[-1]
    return None
