"""The emulated link of the tests itself: real connections with a delay, a rate, losses and a black hole."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.emulated_link import SERVER_ADDRESS, Conditions, EmulatedLink, emulated_link, inside, missing

# Prints the milliseconds until `size` bytes were sent and one came back, or "lost" after `timeout` seconds.
_ECHO = f"""
import socket, sys, time
with socket.create_server(("{SERVER_ADDRESS}", 9000)) as server:
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        while header := connection.recv(8, socket.MSG_WAITALL):
            connection.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
            connection.sendall(b"x")
"""
_CALL = f"""
import socket, sys, time
size, timeout = int(sys.argv[1]), float(sys.argv[2])
try:
    with socket.create_connection(("{SERVER_ADDRESS}", 9000), timeout) as connection:
        start = time.monotonic()
        connection.sendall(size.to_bytes(8, "big") + bytes(size))
        connection.recv(1)
        print((time.monotonic() - start) * 1000)
except TimeoutError:
    print("lost")
"""


@pytest.fixture(scope="module")
def link() -> Iterator[EmulatedLink]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with emulated_link(Conditions()) as link:
        server = subprocess.Popen(inside(link.server, [sys.executable, "-c", _ECHO]), stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        yield link
        server.kill()
        server.communicate()


def call(link: EmulatedLink, size: int, timeout: float = 60) -> str:
    command = inside(link.device, [sys.executable, "-c", _CALL, str(size), str(timeout)])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_delay_and_rate_add_up(link: EmulatedLink) -> None:
    link.set(Conditions(round_trip_ms=30, rate_mbit_s=5))
    assert float(call(link, 10)) >= 30
    assert float(call(link, 62_500)) >= 30 + 100  # half a megabit


def test_losses_are_sent_again(link: EmulatedLink) -> None:
    link.set(Conditions(loss=0.1))
    assert float(call(link, 20_000)) > 0


def test_black_hole_answers_nothing_and_opens_again(link: EmulatedLink) -> None:
    link.set(Conditions(up=False))
    assert call(link, 10, timeout=0.5) == "lost"
    link.set(Conditions())
    assert float(call(link, 10)) > 0


def test_no_route_leads_out_of_the_namespaces(link: EmulatedLink) -> None:
    program = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    command = inside(link.device, [sys.executable, "-c", program])
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Network is unreachable" in failed.stderr
