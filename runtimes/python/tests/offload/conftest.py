"""Servers, proxies and models of the tests of offloading."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

import eetool_runtime as ee
from eetool_runtime.offload import Offload
from eetool_runtime.offload import breaker as breaker_module
from tests.helpers.certificates import Authority
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.inference_server import InferenceServer
from tests.helpers.offload_bundle import write_offload_bundle
from tests.helpers.tiny_bundle import write_tiny_bundle

ENOUGH_MS = 20_000.0  # a budget that no machine exceeds where nothing is wrong


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Return each protocol whose libraries are installed."""
    name: str = request.param
    if name == "grpc" and not all(map(importlib.util.find_spec, ("grpc", "google"))):
        pytest.skip("grpcio is not installed")
    return name


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a bundle that is cut after exit 0, and the repository of its server."""
    return write_offload_bundle(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let links be probed again after milliseconds."""
    monkeypatch.setattr(breaker_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(breaker_module, "LONGEST_WAIT_S", 0.05)


@pytest.fixture
def server(pair: tuple[Path, Path], protocol: str) -> Iterator[InferenceServer]:
    with InferenceServer(pair[1], protocol) as running:
        yield running


@pytest.fixture
def proxy(server: InferenceServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as running:
        yield running


@pytest.fixture
def load(pair: tuple[Path, Path]) -> Iterator[Callable[..., Any]]:
    """Return a function that loads the bundle with a server; its models are closed afterwards."""
    models = []

    def make(url: str, bundle: Path = pair[0], preload: bool | None = None, **settings: Any) -> Any:
        offload = Offload(url, **{"timeout_ms": ENOUGH_MS, **settings})
        model = ee.load(bundle, offload=offload, preload=preload)
        models.append(model)
        return model

    yield make
    for model in models:
        model.close()


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ee.Model:
    return ee.load(write_tiny_bundle(tmp_path_factory.mktemp("plain")))


@pytest.fixture
def model(load: Callable[..., Any], server: InferenceServer) -> Any:
    loaded = load(server.url)
    loaded.check_server()
    return loaded
