"""What lies behind an exit, on real inference servers: the runtime's clients against servers that others wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import eetool_runtime as ee
from eetool.export.offload.repository import write_model
from eetool_runtime.offload import Offload, OffloadError
from eetool_runtime.offload.model import OffloadingModel
from tests.helpers.offload_bundle import write_offload_bundle
from tests.helpers.real_servers import RealServer, serve_repository, server_params
from tests.helpers.tiny_bundle import IMAGES, X, image

WIRES = ("fp32", "fp16", "uint8")
BUDGET_MS = 5000.0  # no test may depend on the load of the machine


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return bundles by wire, `image` for the one whose input travels; their servers' models share `repository`."""
    root, made = tmp_path_factory.mktemp("bundles"), {}
    for name, after_exit, wire in [*((wire, 0, wire) for wire in WIRES), ("image", None, "uint8")]:
        (root / name).mkdir()
        made[name], repository = write_offload_bundle(root / name, after_exit=after_exit, wire=wire)
        for path in repository.glob("*/1/model.onnx"):
            (root / "repository").mkdir(exist_ok=True)
            write_model(root / "repository", path.parents[1].name, onnx.load(path), path.read_bytes())
    return {**made, "repository": root / "repository"}


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


def load_remote(path: Path, url: str) -> OffloadingModel:
    model = ee.load(path, offload=Offload(url, timeout_ms=BUDGET_MS))
    assert isinstance(model, OffloadingModel)
    return model


@pytest.mark.parametrize("name", [*WIRES, "image"])
def test_decisions_equal_those_of_the_local_cascade(url: str, bundles: dict[str, Path], name: str) -> None:
    local = ee.load(bundles[name])
    remote = load_remote(bundles[name], url)
    remote.check_server()
    expected = [local(image(*pair)) for pair in IMAGES]
    results = [remote(image(*pair)) for pair in IMAGES]
    assert [result.exit for result in results] == [result.exit for result in expected]
    assert [result.index for result in results] == [result.index for result in expected]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.logits, wanted.logits, atol=2e-3)  # fp16 on the way
    went = [result.where == "server" for result in results]
    assert went == [name == "image" or result.exit > 0 for result in expected]
    assert {result.offload for result in results if result.where == "server"} == {"ok"}


def test_server_without_the_model_is_told_from_one_that_has_it(
    url: str, bundles: dict[str, Path], tmp_path: Path
) -> None:
    def other(document: dict[str, Any]) -> None:
        document["offload"]["model"] = "tiny-00000000"

    path, _ = write_offload_bundle(tmp_path, edit=other)
    model = load_remote(path, url)
    with pytest.raises(OffloadError) as caught:
        model.check_server()
    assert caught.value.kind in ("wrong_model", "busy", "server_error")  # MLServer fails at a name that it lacks
    result = model(image(3, 1.0))
    assert (result.where, result.gated) == ("device", True)


def test_batch_travels_in_one_request(url: str, bundles: dict[str, Path]) -> None:
    local, remote = ee.load(bundles["fp32"]), load_remote(bundles["fp32"], url)
    remote.check_server()
    expected, results = local.batch(X), remote.batch(X)
    assert [(r.exit, r.index) for r in results] == [(r.exit, r.index) for r in expected]
    assert remote.stats()["offload"]["requests"] == 1
