"""What lies behind an exit, on real inference servers: the runtime's clients against servers that others wrote."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.offload import Offload
from tests.helpers.offload_bundle import write_offload_bundle
from tests.helpers.real_servers import RealServer, serve_repository, server_params
from tests.helpers.tiny_bundle import IMAGES, image

WIRES = ("fp32", "fp16", "uint8")
BUDGET_MS = 5000.0  # no test may depend on the load of the machine


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return bundles by wire, `image` for the one whose input travels; their servers' models share `repository`."""
    root, made = tmp_path_factory.mktemp("bundles"), {}
    for name, after_exit, wire in [*((wire, 0, wire) for wire in WIRES), ("image", None, "uint8")]:
        (root / name).mkdir()
        made[name], repository = write_offload_bundle(root / name, after_exit=after_exit, wire=wire)
        for model in repository.iterdir():
            model.rename(_folder(root / "repository") / model.name)
    return {**made, "repository": root / "repository"}


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="module", params=server_params("kserve", "triton", "mlserver"))
def server(
    request: pytest.FixtureRequest, bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    with serve_repository(request.param, bundles["repository"], tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def url(request: pytest.FixtureRequest, server: RealServer) -> str:
    if request.param == "grpc":
        pytest.importorskip("grpc")
        return f"grpc://{server.grpc}"
    if server.log.stem == "mlserver":
        pytest.skip("MLServer has no binary tensors over REST")
    return f"http://{server.rest}"


@pytest.mark.parametrize("name", [*WIRES, "image"])
def test_decisions_equal_those_of_the_local_cascade(url: str, bundles: dict[str, Path], name: str) -> None:
    local = ee.load(bundles[name])
    remote = ee.load(bundles[name], offload=Offload(url, timeout_ms=BUDGET_MS))
    expected = [local(image(*pair)) for pair in IMAGES]
    results = [remote(image(*pair)) for pair in IMAGES]
    assert [result.exit for result in results] == [result.exit for result in expected]
    assert [result.index for result in results] == [result.index for result in expected]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.logits, wanted.logits, atol=2e-3)  # fp16 on the way
    went = [result.where == "server" for result in results]
    assert went == [name == "image" or result.exit > 0 for result in expected]
    assert {result.offload for result in results if result.where == "server"} == {"ok"}
