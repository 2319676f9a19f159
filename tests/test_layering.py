"""Three wings that hardly know each other: who may import what."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNTIME, MEASURE = "runtimes/python/eetool_runtime/", "runtimes/measure/eetool_measure/"
PACKAGES = (ROOT / "eetool", ROOT / RUNTIME, ROOT / MEASURE)

TORCH = tuple(f"eetool/{wing}/" for wing in ("model", "data", "train", "tune", "export", "search"))
BACKENDS = f"{RUNTIME}backends/"
# Where each package may be imported; a package that is not listed, such as numpy, may be imported anywhere.
PLACES: dict[str, tuple[str, ...]] = {
    "torch": TORCH,
    "onnx": ("eetool/export/", "eetool/bench/", "eetool/profile/"),
    "onnxruntime": (BACKENDS, "eetool/graphs/quantize.py", f"{MEASURE}kernel_trace.py"),
    "ai_edge_litert": (BACKENDS,),
    "tflite_runtime": (BACKENDS,),
    "click": ("eetool/cli/",),
    "rich": ("eetool/cli/",),
    "eetool.cli": ("eetool/cli/", "eetool/__main__.py"),
    "eetool": ("eetool/",),
    "eetool_measure": ("eetool/", MEASURE),
    **dict.fromkeys(("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"), ()),
}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def violations(path: str, source: str) -> list[str]:
    return [
        f"{path} imports {name}"
        for name in imports(ast.parse(source))
        for package, places in PLACES.items()
        if f"{name}.".startswith(f"{package}.") and not path.startswith(places)
    ]


def sources() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_everything_is_imported_where_it_belongs() -> None:
    assert [line for path, source in sources() for line in violations(path, source)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("eetool/profile/profiler.py", "import torch"),
        ("eetool/cli/commands/train.py", "def f():\n    from torch import nn"),
        ("eetool/export/bundle_export.py", "import click.core"),
        ("eetool/model/checkpoint.py", "import pickle as p"),
        ("runtimes/python/eetool_runtime/model.py", "import onnxruntime"),
        ("runtimes/python/eetool_runtime/model.py", "from eetool_measure.timing import latency"),
        ("runtimes/python/eetool_runtime/backends/onnx.py", "from eetool.errors import ArtefactError"),
        ("eetool/bench/interleaved_timing.py", "from eetool.cli import console"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert violations(path, source) != []


def foreign(source: str) -> set[str]:
    return {name.split(".")[0] for name in imports(ast.parse(source))} - sys.stdlib_module_names


def test_the_runtime_needs_numpy_and_nothing_else() -> None:
    for path, source in sources():
        if path.startswith(RUNTIME) and not path.startswith(BACKENDS):
            assert foreign(source) <= {"numpy"}, path


def test_the_instruments_need_numpy_and_the_runtime() -> None:
    for path, source in sources():
        if path.startswith(MEASURE) and not path.endswith("kernel_trace.py"):
            assert foreign(source) <= {"numpy", "eetool_runtime"}, path


def test_nobody_prints() -> None:
    for path, source in sources():
        names = {
            node.func.id
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not names & {"print", "eval", "exec"}, path
