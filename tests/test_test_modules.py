"""Rules for test modules: shared code is in tests/helpers, and no module searches further folders for imports."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "tests", ROOT / "runtimes/python/tests", ROOT / "runtimes/measure/tests")


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_test_module(name: str) -> bool:
    return any(part.startswith("test_") or part == "conftest" for part in name.split(".")[:-1])


def test_test_modules_import_no_other_test_module() -> None:
    paths = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
    imports = [(path.relative_to(ROOT).as_posix(), name) for path in paths for name in imported_modules(path)]
    assert [(path, name) for path, name in imports if is_test_module(name)] == []


def test_pytest_pythonpath_is_the_root_only() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert options["pythonpath"] == ["."]
