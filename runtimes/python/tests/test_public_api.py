"""The public interface of the package: exported names, imports and the tree of errors."""

from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys
import types

import pytest

import eetool_runtime
from eetool_runtime import errors

EXPORTED = ["Bundle", "EarlyExitError", "Model", "Result", "load", "open_bundle"]


def test_package_exports_documented_names() -> None:
    assert eetool_runtime.__all__ == EXPORTED
    public = {
        name
        for name, value in vars(eetool_runtime).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(EXPORTED)


def modules_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_numpy_only() -> None:
    added = modules_after("import eetool_runtime") - modules_after("import numpy")
    roots = {name.split(".")[0] for name in added}
    assert roots.isdisjoint({"torch", "onnx", "onnxruntime", "click", "rich", "eetool", "scipy", "PIL"})
    if sys.version_info >= (3, 10):
        assert {r for r in roots if r not in sys.stdlib_module_names} == {"eetool_runtime"}


@pytest.mark.parametrize("name", [m.name for m in pkgutil.walk_packages(eetool_runtime.__path__, "eetool_runtime.")])
def test_import_any_module_first_succeeds(name: str) -> None:
    if name.endswith(".litert") and not any(map(importlib.util.find_spec, ("ai_edge_litert", "tflite_runtime"))):
        pytest.skip("neither ai-edge-litert nor tflite-runtime is installed")
    if name.endswith((".grpc_client", ".inference_messages")) and not importlib.util.find_spec("grpc"):
        pytest.skip("grpcio is not installed")
    server = {"kserve": "kserve", "mlserver": "mlserver", "metrics": "prometheus_client"}.get(
        name.rpartition(".contrib.")[2]
    )
    if server is not None and importlib.util.find_spec(server) is None:
        pytest.skip(f"{server} is not installed")
    assert name in modules_after(f"import {name}")


def test_errors_share_root_and_have_exit_codes() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    codes = {c.__name__: c.exit_code for c in classes}
    assert codes == {
        "EarlyExitError": 1,
        "UsageError": 2,
        "BundleError": 3,
        "InputError": 3,
        "NotFiniteError": 3,
        "BackendError": 5,
    }
    assert all(issubclass(c, errors.EarlyExitError) for c in classes)
    for name, code in codes.items():
        assert f"{name} {code}" in (errors.__doc__ or "")


def test_error_has_message_and_hint() -> None:
    error = errors.InputError("no", "try yes")
    assert (str(error), error.message, error.hint) == ("no", "no", "try yes")


def test_version_consists_of_numbers() -> None:
    assert all(part.isdecimal() for part in importlib.import_module("eetool_runtime").__version__.split("."))
