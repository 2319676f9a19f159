"""Measurements of `offload.py` over emulated links: times of calls, tuning by them, and what `bench` then measures."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from offload_cases import CASES, MAIN, ROOT, Case, Settings, bundle_of, eetool, environment, kept

from tests.helpers.emulated_link import SERVER_ADDRESS, Conditions, EmulatedLink, emulated_link, inside

LINKS = {
    "2 ms, 50 Mbit/s": Conditions(2, 50),
    "10 ms, 20 Mbit/s": Conditions(10, 20),
    "40 ms, 5 Mbit/s": Conditions(40, 5),
}
PORT, REST_PORT = 8001, 8000
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
        server.stdout.readline()
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


def measure_links(settings: Settings, slowdown: float) -> dict[str, Any]:
    """Return the results of every link; each measurement is kept in a file and not made again.

    Args:
        settings: of the script.
        slowdown: of the graphs on the device.
    """
    results = {}
    for number, (name, conditions) in enumerate(LINKS.items()):
        folder = settings.out / f"link{number}"
        folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            lazily = _LazyLink(stack, settings, conditions)
            calls = {
                case.name: kept(
                    folder / f"{case.name}.calls.json", partial(measure_calls, settings, case, folder, lazily)
                )
                for case in CASES
            }
            results[name] = {
                "round_trip_ms": conditions.round_trip_ms,
                "rate_mbit_s": conditions.rate_mbit_s,
                "calls": calls,
                "cascade": kept(folder / "cascade.json", partial(compare, settings, folder, lazily, slowdown)),
                "unslowed": kept(folder / "unslowed.json", partial(tuned, settings, folder, None)),
            }
    return results


class _LazyLink:
    """A link that is made when something on it is measured."""

    def __init__(self, stack: contextlib.ExitStack, settings: Settings, conditions: Conditions) -> None:
        self._stack, self._settings, self._conditions = stack, settings, conditions
        self._link: EmulatedLink | None = None

    def prefix(self) -> list[str]:
        """Return the beginning of a command on the device's side."""
        if self._link is None:
            self._link = self._stack.enter_context(server_on_link(self._settings, self._conditions))
        return inside(self._link.device, [])


URL = f"grpc://{SERVER_ADDRESS}:{PORT}"


def measure_calls(settings: Settings, case: Case, folder: Path, link: _LazyLink) -> dict[str, Any]:
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


def profile_of(settings: Settings, case: Case, slowdown: float | None) -> Path:
    """Return the measured profile of a bundle on this machine, or on one whose graphs are slower."""
    path = settings.out / f"{case.name}-{'own' if slowdown is None else 'slow'}.profile.json"
    if not path.exists():
        words = ("profile", bundle_of(settings, case), "--threads", 1, "-o", path, "--accept-unstable")
        eetool(*words, slowdown=slowdown)
    return path


def tuned(settings: Settings, folder: Path, slowdown: float | None) -> dict[str, Any]:
    """Tune the main case by a measured link; return the choice of every operating point."""
    path = folder / f"tuned-{'own' if slowdown is None else 'slow'}.eebundle"
    link = ("--link", folder / f"{MAIN.name}.link.json", "--offload-timeout-ms", TIMEOUT_MS)
    profile = ("--profile", profile_of(settings, MAIN, slowdown))
    words = ("tune", bundle_of(settings, MAIN), "--data", settings.data, *profile, *link, "-o", path, "--force")
    document = eetool(*words)
    choice: dict[str, Any] = document["offload"]
    return choice


def compare(settings: Settings, folder: Path, link: _LazyLink, slowdown: float) -> dict[str, Any]:
    """Tune the main case for the slow device and let `bench` measure it; return both."""
    choice = tuned(settings, folder, slowdown)
    ways: list[dict[str, Any]] = []
    if choice["operating_points"]:
        rules = ("--passes", settings.passes, "--min-seconds", 3, "--threads", 1, "--accept-unstable")
        offload = ("--offload", URL, "--offload-timeout-ms", TIMEOUT_MS)
        words = ("bench", folder / "tuned-slow.eebundle", "--data", settings.data, *offload, *rules)
        document = eetool(*words, prefix=link.prefix(), slowdown=slowdown)
        ways = [{**way, "error": _error(way)} for way in document["offload"]["ways"]]
    return {"choice": choice, "ways": ways}


def _error(way: dict[str, Any]) -> float | None:
    """Return predicted over measured latency, less one."""
    predicted = way["predicted_ms"]
    return None if predicted is None else predicted / way["measured_ms"] - 1
