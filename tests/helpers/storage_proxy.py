"""Optuna's storage proxy in a process of its own, as docs/searching.md starts it."""

import contextlib
import socket
import subprocess
import sys
import time

_SERVE = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server

run_grpc_proxy_server(get_storage(sys.argv[1]), host=sys.argv[2], port=int(sys.argv[3]))
"""


def start_proxy(database: str, port: int) -> "subprocess.Popen[bytes]":
    """Start a proxy of the database on loopback, and wait until it listens."""
    command = [sys.executable, "-c", _SERVE, database, "127.0.0.1", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the proxy does not listen")


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different ports of loopback that nothing listens on."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
