"""Scripts of the repository that are in no package: loaded as modules, or run as commands."""

import contextlib
import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load_script(path: str) -> ModuleType:
    """Import a script by its path from the root of the repository; its siblings can be imported by name."""
    file = ROOT / path
    folder = str(file.parent)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    previous = sys.modules.get(file.stem)
    sys.modules[file.stem] = module  # dataclasses look their module up
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
        if previous is not None:
            sys.modules[file.stem] = previous
    return module


def run_script(path: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script from the root of the repository."""
    command = [sys.executable, path, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def call_script(path: str, *arguments: object) -> str:
    """Run `main()` of a script in this process, which has torch already, and return what it prints."""
    given, sys.argv = sys.argv, [path, *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            load_script(path).main()
    finally:
        sys.argv = given
    return printed.getvalue()
