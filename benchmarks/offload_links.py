"""Emulated links of `offload.py`: the server at their far end, and the times of calls over them."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offload_cases import ROOT, Case, Settings, bundle_of, eetool, environment

from tests.helpers.emulated_link import SERVER_ADDRESS, Conditions, EmulatedLink, emulated_link, inside

LINKS = {
    "2 ms, 50 Mbit/s": Conditions(2, 50),
    "10 ms, 20 Mbit/s": Conditions(10, 20),
    "40 ms, 5 Mbit/s": Conditions(40, 5),
}
PORT, REST_PORT = 8001, 8000
URL = f"grpc://{SERVER_ADDRESS}:{PORT}"
TIMEOUT_MS = 1000
_SERVE = """
import sys
import time
from pathlib import Path
from tests.helpers.inference_server import InferenceServer
with InferenceServer(Path(sys.argv[1]), "grpc", port=int(sys.argv[2]), host=sys.argv[3]):
    print("ready", flush=True)
    time.sleep(86400)
"""
_READY_S = 120.0


@contextlib.contextmanager
def server_on_link(settings: Settings, conditions: Conditions) -> Iterator[EmulatedLink]:
    """Serve all models at the far end of an emulated link."""
    with emulated_link(Conditions()) as link:
        process = _start(settings, link)
        try:
            link.set(conditions)
            yield link
        finally:
            process.kill()
            process.communicate()


def _start(settings: Settings, link: EmulatedLink) -> "subprocess.Popen[str]":
    """Start KServe where its Python is given, otherwise the server of the tests; return when it is ready."""
    if settings.server_python is None:
        command = [sys.executable, "-c", _SERVE, str(settings.repository), str(PORT), SERVER_ADDRESS]
        server = subprocess.Popen(
            inside(link.server, command), stdout=subprocess.PIPE, text=True, env=environment(None), cwd=ROOT
        )
        assert server.stdout is not None
        if not server.stdout.readline():
            raise SystemExit("the server did not start; what it wrote above says why")
        return server
    script = ROOT / "tests/helpers/servers/kserve_server.py"
    command = [str(settings.server_python), str(script), str(settings.repository)]
    command += ["--http_port", str(REST_PORT), "--grpc_port", str(PORT), "--enable_latency_logging", "false"]
    with (settings.out / "kserve.log").open("w") as log:
        server = subprocess.Popen(inside(link.server, command), stdout=log, stderr=log, text=True)
    ask = f"import urllib.request as u; u.urlopen('http://{SERVER_ADDRESS}:{REST_PORT}/v2/health/ready', timeout=2)"
    end = time.monotonic() + _READY_S
    while subprocess.run(inside(link.device, [sys.executable, "-c", ask]), capture_output=True).returncode:
        if server.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"KServe did not start; {settings.out / 'kserve.log'} says why")
        time.sleep(0.2)
    return server


class LazyLink:
    """A link that is made when something on it is measured."""

    def __init__(self, stack: contextlib.ExitStack, settings: Settings, conditions: Conditions) -> None:
        self._stack, self._settings, self._conditions = stack, settings, conditions
        self._link: EmulatedLink | None = None

    def prefix(self) -> list[str]:
        """Return the beginning of a command on the device's side."""
        if self._link is None:
            self._link = self._stack.enter_context(server_on_link(self._settings, self._conditions))
        return inside(self._link.device, [])


def measure_calls(settings: Settings, case: Case, folder: Path, link: LazyLink) -> dict[str, Any]:
    """Measure calls of one case; return their times."""
    path = folder / f"{case.name}.link.json"
    rules = ("--link-calls", settings.link_calls, "--link-pause-ms", 5, "--offload-timeout-ms", TIMEOUT_MS)
    words = ("profile", bundle_of(settings, case), "--link", URL, *rules, "-o", path, "--force")
    document = eetool(*words, prefix=link.prefix())
    one = min(document["sizes"], key=lambda size: size["bytes"])
    return {
        "bytes": one["bytes"],
        "n": one["n"],
        "p50_ms": one["p50_ms"],
        "p95_ms": one["p95_ms"],
        "mean_ms": sum(one["times_ms"]) / max(len(one["times_ms"]), 1),
        "round_trip_ms": document["round_trip_ms"],
        "failures": document["failures"],
    }
