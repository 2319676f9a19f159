"""A slow link between two network namespaces of our own: round trip, rate, loss and black hole, packet by packet.

A process of its own forwards packets between two TUN devices, one in each namespace. So connections are the kernel's
own, with slow start and retransmission. `tc netem` does the same where its kernel module exists; TUN devices exist
nearly everywhere. Both need root. Nothing leaves the namespaces: they have no other device than the loopback's.

    python tests/helpers/emulated_link.py NAMESPACE NAMESPACE     (started by `emulated_link`)
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

DEVICE_ADDRESS, SERVER_ADDRESS = "10.91.0.1", "10.91.0.2"
_TUN, _SET_INTERFACE, _NO_PACKET_INFO = "/dev/net/tun", 0x400454CA, 0x1001  # IFF_TUN | IFF_NO_PI
_QUEUE_BYTES = 256 * 1024  # of a direction; packets that find it full are dropped, as by a router
_LARGEST_PACKET = 65536


@dataclass(frozen=True)
class Conditions:
    """Conditions of a link, the same in both directions.

    Attributes:
        round_trip_ms: of an empty packet.
        rate_mbit_s: megabits per second.
        loss: probability that a packet is lost.
        up: False where every packet is lost.
    """

    round_trip_ms: float = 0.0
    rate_mbit_s: float = 1000.0
    loss: float = 0.0
    up: bool = True


def missing() -> str | None:
    """Return why links cannot be emulated here, or None."""
    if os.geteuid() != 0:
        return "emulated links need root"
    if shutil.which("ip") is None or not Path(_TUN).exists():
        return "emulated links need `ip` and /dev/net/tun"
    if subprocess.run(["ip", "netns", "list"], capture_output=True, check=False).returncode != 0:
        return "network namespaces cannot be made here"
    return None


class EmulatedLink:
    """A running link.

    Attributes:
        device: namespace of the device, whose address is DEVICE_ADDRESS.
        server: namespace of the server, whose address is SERVER_ADDRESS.
    """

    def __init__(self, device: str, server: str) -> None:
        self.device, self.server = device, server
        self._process = subprocess.Popen(
            [sys.executable, __file__, device, server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("ready")

    def set(self, conditions: Conditions) -> None:
        """Change the conditions; returns when they are in force. Packets on their way keep theirs."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(conditions)) + "\n")
        self._process.stdin.flush()
        self._expect("set")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if answer != word:
            raise RuntimeError(f"the forwarder of the link said {answer!r}, not {word!r}")

    def close(self) -> None:
        """End the forwarder; its devices go with it."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def emulated_link(conditions: Conditions) -> Iterator[EmulatedLink]:
    """Make two namespaces with a link between them; remove all of it at the end."""
    names = [f"eetool-{os.getpid()}-{side}" for side in ("device", "server")]
    with contextlib.ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            _ip("-n", name, "link", "set", "lo", "up")
        link = EmulatedLink(*names)
        stack.callback(link.close)
        link.set(conditions)
        yield link


def inside(namespace: str, command: Sequence[str]) -> list[str]:
    """Return a command that runs `command` inside a namespace."""
    return ["ip", "netns", "exec", namespace, *command]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class _Direction:
    """One direction of the link: where it ends, when its wire is free again and which bytes wait for that."""

    to_fd: int
    free_at: float = 0.0
    departures: list[tuple[float, int]] = field(default_factory=list)  # (time, bytes) of packets in the queue

    def queued_bytes(self, now: float) -> int:
        self.departures = [entry for entry in self.departures if entry[0] > now]
        return sum(size for _, size in self.departures)


class Forwarder:
    """Forwarding of packets between two TUN devices under conditions that may change."""

    def __init__(self, fds: Sequence[int], seed: int = 0) -> None:
        self.conditions = Conditions()
        self._random = random.Random(seed)
        self._directions = {fds[0]: _Direction(fds[1]), fds[1]: _Direction(fds[0])}
        self._waiting: list[tuple[float, int, int, bytes]] = []  # (due, number, to_fd, packet)
        self._number = 0

    def run(self, control_fd: int) -> None:
        """Forward until the control is closed; every line of it has new conditions."""
        while True:
            pause = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            readable, _, _ = select.select([*self._directions, control_fd], [], [], pause)
            self._deliver()
            for fd in readable:
                if fd != control_fd:
                    self._accept(fd, os.read(fd, _LARGEST_PACKET))
                elif line := os.read(fd, 4096):
                    self.conditions = Conditions(**json.loads(line))
                    os.write(1, b"set\n")
                else:
                    return

    def _accept(self, fd: int, packet: bytes) -> None:
        now, c, direction = time.monotonic(), self.conditions, self._directions[fd]
        if not c.up or self._random.random() < c.loss or direction.queued_bytes(now) > _QUEUE_BYTES:
            return
        direction.free_at = max(now, direction.free_at) + len(packet) * 8 / (c.rate_mbit_s * 1e6)
        direction.departures.append((direction.free_at, len(packet)))
        due = direction.free_at + c.round_trip_ms / 2000
        heapq.heappush(self._waiting, (due, self._number, direction.to_fd, packet))
        self._number += 1

    def _deliver(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, to_fd, packet = heapq.heappop(self._waiting)
            with contextlib.suppress(OSError):  # the device is down, or its queue is full
                os.write(to_fd, packet)


def _open_tun(name: str) -> int:
    fd = os.open(_TUN, os.O_RDWR)
    fcntl.ioctl(fd, _SET_INTERFACE, struct.pack("16sH", name.encode(), _NO_PACKET_INFO))
    return fd


def main(namespaces: Sequence[str]) -> None:
    """Make a TUN device for each namespace, move it there, and forward between them."""
    fds, addresses = [], (DEVICE_ADDRESS, SERVER_ADDRESS)
    for index, (namespace, address) in enumerate(zip(namespaces, addresses, strict=True)):
        name = f"ee{os.getpid()}x{index}"
        fds.append(_open_tun(name))
        _ip("link", "set", name, "netns", namespace)
        _ip("-n", namespace, "address", "add", address, "peer", addresses[1 - index], "dev", name)
        _ip("-n", namespace, "link", "set", name, "up")
    os.write(1, b"ready\n")
    Forwarder(fds).run(0)


if __name__ == "__main__":
    main(sys.argv[1:])
