"""Real inference servers in environments of their own, on loopback or inside a network namespace.

An environment variable names each environment's Python; `tools/make_server_environment.py` makes the environments.
"""

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.storage_proxy import free_ports

VARIABLES = {"kserve": "EETOOL_KSERVE_PYTHON", "triton": "EETOOL_TRITON_PYTHON", "mlserver": "EETOOL_MLSERVER_PYTHON"}
_SCRIPTS = Path(__file__).parent / "servers"
_ROOT = Path(__file__).parents[2]
_READY_SECONDS = 90.0


@dataclass(frozen=True)
class RealServer:
    """A running server: its addresses, without scheme, and its process."""

    grpc: str
    rest: str
    process: "subprocess.Popen[bytes]"
    log: Path


def python_of(server: str) -> Path | None:
    """Return the Python of a server's environment, or None where there is none."""
    path = os.environ.get(VARIABLES[server])
    return Path(path) if path and Path(path).exists() else None


def server_params(*servers: str) -> list[Any]:
    """Return the parameters of a fixture; servers without an environment are skipped, each with one line per module."""
    missing = {
        server: f"{VARIABLES[server]} names no Python; tools/make_server_environment.py {server} FOLDER makes one"
        for server in servers
        if python_of(server) is None
    }
    return [pytest.param(s, marks=[pytest.mark.skip(missing[s])] if s in missing else []) for s in servers]


@contextlib.contextmanager
def serve_repository(server: str, repository: Path, folder: Path, *options: str) -> Iterator[RealServer]:
    """Let a real server serve a repository of ONNX models: `kserve`, `triton` or `mlserver`."""
    http_port, grpc_port = free_ports(2)
    command: list[str | Path] = [_SCRIPTS / f"{server}_server.py", repository]
    if server == "kserve":
        command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port), *options]
    else:
        command += [str(http_port), str(grpc_port), *options]
    with run_server(server, command, folder, http_port, grpc_port) as running:
        yield running


@contextlib.contextmanager
def run_server(
    server: str, command: Sequence[str | Path], folder: Path, http_port: int, grpc_port: int
) -> Iterator[RealServer]:
    """Run a command by the Python of a server's environment; yield when REST says that the server is ready."""
    python = python_of(server)
    assert python is not None, server
    log = folder / f"{server}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, *command], stdout=output, stderr=output, env=_environment(python), cwd=folder
        )
    try:
        _await_ready(http_port, process, log)
        yield RealServer(f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}", process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(python: Path) -> dict[str, str]:
    """Return variables for a server: the runtime can be imported, and Triton finds the library of its Python."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    library = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        **kept,
        "PYTHONPATH": str(_ROOT / "runtimes/python"),
        "LD_LIBRARY_PATH": library,
        "PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
    }


def _await_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError, HTTPException),  # not listening yet, or not ready
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2) as reply,
        ):
            if reply.status == 200:
                return
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace")[-4000:])
