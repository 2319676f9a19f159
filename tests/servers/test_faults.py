"""Link and server that fail, in the ways of the proxy on loopback and on a link between network namespaces."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.emulated_link import SERVER_ADDRESS, Conditions, EmulatedLink, emulated_link, inside, missing
from tests.helpers.faulty_server import FAULTS
from tests.helpers.offload_bundle import write_offload_bundle
from tests.helpers.offload_calls import Caller
from tests.helpers.scripts import load_script
from tests.helpers.tiny_bundle import IMAGES, image

PORT = 8001
TIMEOUT_MS = 400.0
_SERVE = """
import sys
import time
from pathlib import Path
from tests.helpers.inference_server import InferenceServer
with InferenceServer(Path(sys.argv[1]), "grpc", port=int(sys.argv[2]), host=sys.argv[3]):
    print("ready", flush=True)
    time.sleep(3600)
"""


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    return load_script("benchmarks/offload_faults.py")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_offload_bundle(tmp_path_factory.mktemp("offload"))


def test_calls_under_every_fault_are_answered_rightly_and_counted(faults: ModuleType, paths: tuple[Path, Path]) -> None:
    """The benchmark has 10,000 calls, both protocols and both fallbacks."""
    pytest.importorskip("grpc")
    inputs = [image(*pair) for pair in IMAGES]
    setup = faults.FaultyCalls(*paths, inputs, 160, 0.15, budget_ms=20_000.0, timeout_ms=250.0)
    figures = faults.run_faulty_calls(setup)
    assert (figures["lost"], figures["wrong"], figures["counters_add_up"]) == (0, 0, True), figures
    assert set(figures["by_fault"]) == {"none", *FAULTS}
    assert figures["outcomes"]["ok"] > 0
    assert sum(figures["failures"].values()) > 5
    assert {"wrong_model", "wrong_shape", "not_finite"} <= set(figures["failures"])


def test_plan_faults_has_the_share_and_every_kind(faults: ModuleType) -> None:
    plan = faults.plan_faults(10_000, 0.05)
    faulty = [fault for fault in plan if fault]
    assert 480 <= len(faulty) <= 520
    counts = Counter(faulty)
    assert set(counts) == set(FAULTS)
    assert min(counts.values()) > 20


@pytest.fixture(scope="module")
def link() -> Iterator[EmulatedLink]:
    pytest.importorskip("grpc")
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with emulated_link(Conditions(round_trip_ms=4, rate_mbit_s=50)) as link:
        yield link


def start_server(link: EmulatedLink, repository: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _SERVE, str(repository), str(PORT), SERVER_ADDRESS]
    server = subprocess.Popen(inside(link.server, command), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def test_offloading_over_a_link_that_fails(link: EmulatedLink, paths: tuple[Path, Path]) -> None:
    """Delay, loss, a server that is killed and started again, and a black hole that ends."""
    bundle, repository = paths
    server = start_server(link, repository)
    caller = Caller(bundle, f"grpc://{SERVER_ADDRESS}:{PORT}", TIMEOUT_MS, partial(inside, link.device))
    record = []

    def outcomes(calls: int) -> set[str | None]:
        results = caller.call(calls)
        record.extend(results)
        return {result["offload"] for result in results if result["offload"] is not None}

    try:
        assert caller.wait_until_up()
        assert "ok" in outcomes(16)
        link.set(Conditions(round_trip_ms=4, rate_mbit_s=50, loss=0.05))
        assert "ok" in outcomes(16)
        server.kill()
        server.communicate()
        assert outcomes(8) <= {"refused", "timeout", "open"}
        link.set(Conditions(round_trip_ms=4))
        server = start_server(link, repository)
        assert caller.wait_until_up()
        assert "ok" in outcomes(16)
        link.set(Conditions(round_trip_ms=2 * TIMEOUT_MS))
        assert outcomes(2) == {"timeout"}
        link.set(Conditions(up=False))
        assert outcomes(8) <= {"timeout", "open", "refused"}
        link.set(Conditions(round_trip_ms=4))
        assert caller.wait_until_up()
        assert all(result["is_right"] for result in record)
        counted = Counter(result["offload"] for result in record if result["offload"] is not None)
        assert counted == {name: count for name, count in caller.stats()["inputs"].items() if count}
    finally:
        caller.close()
        server.kill()
        server.communicate()
