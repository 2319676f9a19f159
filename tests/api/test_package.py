"""`import eetool`: names, when they are imported, and functions that have the name of a subpackage."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import eetool
import eetool.tune.fit_policy as fit_policy

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "torch", "onnx", "scipy", "sklearn", "onnxruntime", "click", "rich", "eetool_runtime")
# Imports that cost a user nothing before a function is called.
CHECKED = f"""
import sys, eetool
before = {{name for name in {HEAVY!r} if name in sys.modules}}
dir(eetool); eetool.__version__
for name in ("attach_exits", "bench", "calibrate", "estimate", "export", "load_data", "save", "train", "tune"):
    getattr(eetool, name)
after = {{name for name in {HEAVY!r} if name in sys.modules}}
print(sorted(before), sorted(after - {{"eetool_runtime", "numpy"}}))
"""


def test_all_is_sorted_and_every_name_is_a_documented_typed_function() -> None:
    assert eetool.__all__ == sorted(eetool.__all__)
    assert set(dir(eetool)) == {*eetool.__all__, "__version__", "errors"}
    for name in eetool.__all__:
        function = getattr(eetool, name)
        assert inspect.isfunction(function), name
        assert inspect.getdoc(function), name
        signature = inspect.signature(function)
        assert all(p.annotation is not p.empty for p in signature.parameters.values()), name
        assert signature.return_annotation is not signature.empty, name


def test_all_equals_the_names_for_type_checkers() -> None:
    tree = ast.parse((ROOT / "eetool/__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names} - {None}
    assert typed == {*eetool.__all__, "errors"}


def test_import_and_names_load_no_heavy_package() -> None:
    done = subprocess.run([sys.executable, "-c", CHECKED], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        eetool.trian  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", ["bench", "export", "train", "tune"])
def test_function_named_as_a_subpackage_survives_its_import(name: str) -> None:
    package = importlib.import_module(f"eetool.{name}")
    assert inspect.isfunction(getattr(eetool, name))
    assert inspect.ismodule(package)


def test_module_of_such_a_subpackage_is_found_by_its_dotted_name() -> None:
    assert inspect.ismodule(fit_policy)
    assert eetool.tune.fit_policy is fit_policy  # type: ignore[attr-defined]
