"""Whole bundles behind real servers: adapters of eetool_runtime.contrib, their answers, refusals and metrics."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.offload import Offload, open_client
from eetool_runtime.offload.client import InferRequest
from tests.helpers.real_servers import RealServer, run_server, server_params
from tests.helpers.storage_proxy import free_ports
from tests.helpers.tiny_bundle import X, write_tiny_bundle

POINT = "fast"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module", params=server_params("kserve", "mlserver"))
def served(
    request: pytest.FixtureRequest, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    server = request.param
    folder = tmp_path_factory.mktemp(server)
    http_port, grpc_port, metrics_port = free_ports(3)
    if server == "kserve":
        command = ["-m", "eetool_runtime.contrib.kserve", "--model_name", "digits", "--model_dir", path]
        command += ["--operating_point", POINT, "--http_port", str(http_port), "--grpc_port", str(grpc_port)]
    else:
        command = ["-m", "mlserver.cli.main", "start", folder]
        model = {"name": "digits", "implementation": "eetool_runtime.contrib.mlserver.MLServerModel"}
        model["parameters"] = {"uri": str(path), "extra": {"operating_point": POINT}}
        (folder / "model-settings.json").write_text(json.dumps(model))
        settings = {"parallel_workers": 0, "host": "127.0.0.1", "http_port": http_port, "grpc_port": grpc_port}
        (folder / "settings.json").write_text(json.dumps({**settings, "metrics_port": metrics_port}))
    with run_server(server, command, folder, http_port, grpc_port) as running:
        yield running


def call(server: RealServer, name: str = "input", data: Any = None, shape: Any = None, path: str = "/infer") -> Any:
    """Send all images of the bundle, or other data, as JSON."""
    data = X.ravel().tolist() if data is None else data
    request = {"inputs": [{"name": name, "datatype": "FP32", "shape": shape or list(X.shape), "data": data}]}
    body = json.dumps(request).encode() if path == "/infer" else None
    message = urllib.request.Request(
        f"http://{server.rest}/v2/models/digits{path}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(message, timeout=20) as reply:
        return json.load(reply)


def test_answers_equal_those_of_the_runtime(served: RealServer, path: Path) -> None:
    model = ee.load(path)
    model.use(POINT)
    expected = model.batch(X)
    answered = call(served)["outputs"]
    outputs = {output["name"]: output["data"] for output in answered}
    assert [output["shape"] for output in answered] == [[len(X)]] * 3
    assert outputs["class"] == [result.index for result in expected]
    assert outputs["exit"] == [result.exit for result in expected]
    np.testing.assert_allclose(outputs["confidence"], [result.confidence for result in expected], rtol=1e-6)
    assert len(set(outputs["exit"])) == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_raw_answers_equal_those_of_the_runtime(served: RealServer, path: Path, protocol: str) -> None:
    """Over gRPC, and over REST with binary tensors."""
    if protocol == "grpc":
        pytest.importorskip("grpc")
    elif served.log.stem == "mlserver":
        pytest.skip("MLServer has no binary tensors over REST")
    model = ee.load(path)
    model.use(POINT)
    expected = model.batch(X)
    client = open_client(Offload(f"{protocol}://{served.grpc if protocol == 'grpc' else served.rest}"))
    try:
        assert client.ready("digits", 20.0)
        outputs = client.infer(InferRequest("digits", {"input": X}, ["class", "exit", "confidence"]), 20.0).outputs
    finally:
        client.close()
    assert [outputs[name].ravel().tolist() for name in ("class", "exit")] == [
        [result.index for result in expected],
        [result.exit for result in expected],
    ]
    np.testing.assert_allclose(outputs["confidence"].ravel(), [r.confidence for r in expected], rtol=1e-6)


def test_metadata_describes_inputs_and_outputs(served: RealServer) -> None:
    described = call(served, path="")
    inputs = [(i["name"], i["datatype"], i["shape"]) for i in described["inputs"]]
    assert inputs == [("input", "FP32", [-1, 1, 4, 4])]
    assert [o["name"] for o in described["outputs"]] == ["class", "exit", "confidence"]


@pytest.mark.parametrize(
    ("name", "data", "shape", "reason"),
    [
        ("other", [0.0] * 16, [1, 1, 4, 4], "other"),
        ("input", [0.0] * 16, [1, 4, 4], "shape"),
        ("input", [0.0] * 15, [1, 1, 4, 4], "reshape|size"),
    ],
)
def test_bad_input_is_a_bad_request_with_the_reason(
    served: RealServer, name: str, data: list[float], shape: list[int], reason: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        call(served, name, data, shape)
    assert caught.value.code == 400
    assert any(word in caught.value.read().decode() for word in reason.split("|"))


def test_metrics_count_calls_by_exit(served: RealServer, path: Path) -> None:
    call(served)
    address = served.rest
    if served.log.stem == "mlserver":
        settings = json.loads((served.log.parent / "settings.json").read_text())
        address = f"127.0.0.1:{settings['metrics_port']}"
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as reply:
        lines = reply.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("eetool_exits_total{")]
    model = ee.load(path)
    model.use(POINT)
    exits = [result.exit for result in model.batch(X)]
    for index in range(3):
        (line,) = [line for line in counts if f'exit="{index}"' in line and f'operating_point="{POINT}"' in line]
        assert 'model="digits"' in line
        count = float(line.rpartition(" ")[2])
        assert count > 0
        assert count % exits.count(index) == 0
