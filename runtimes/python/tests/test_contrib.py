"""Answers of whole bundles in the terms of servers, and what the adapters import; tests/servers runs them."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.contrib.answers import answer, describe_inputs, describe_outputs
from eetool_runtime.errors import InputError
from eetool_runtime.testing import ScriptedAnswer, scripted
from tests.helpers.tiny_bundle import X, write_tiny_bundle

ADAPTERS = ("kserve", "mlserver")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ee.Model:
    return ee.load(write_tiny_bundle(tmp_path_factory.mktemp("bundle"), ids=True))


def test_answer_is_that_of_single_calls() -> None:
    script = [ScriptedAnswer("cat", exit=1), ScriptedAnswer("dog"), ScriptedAnswer("cat", exit=2, confidence=0.3)]
    made = answer(scripted(script), {"input": np.zeros((3, 3, 32, 32), np.float32)})
    assert {name: array.tolist() for name, array in made.items()} == {
        "class": [0, 1, 0],
        "exit": [1, 0, 2],
        "confidence": pytest.approx([0.95, 0.95, 0.3]),
    }
    assert [array.dtype for array in made.values()] == [np.int64, np.int64, np.float32]


def test_answer_of_a_wrong_input_raises(model: ee.Model) -> None:
    with pytest.raises(InputError, match="other"):
        answer(model, {"other": X})


def test_descriptions_have_every_tensor_in_terms_of_the_protocol(model: ee.Model) -> None:
    assert describe_inputs(model) == [
        {"name": "input", "datatype": "FP32", "shape": [-1, 1, 4, 4]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
    ]
    assert [(o["name"], o["shape"]) for o in describe_outputs()] == [
        ("class", [-1]),
        ("exit", [-1]),
        ("confidence", [-1]),
    ]


def _imported(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_runtime_imports_no_server() -> None:
    servers = {"kserve", "mlserver", "prometheus_client", "fastapi", "grpc"}
    assert _imported("import eetool_runtime.contrib.answers").isdisjoint(servers)


@pytest.mark.parametrize("server", ADAPTERS)
def test_adapter_without_its_server_names_the_package(server: str) -> None:
    if importlib.util.find_spec(server) is not None:
        pytest.skip(f"{server} is installed")
    with pytest.raises(ModuleNotFoundError, match=f"'{server}'"):
        importlib.import_module(f"eetool_runtime.contrib.{server}")
