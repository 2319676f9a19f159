"""The programs on `docs/native.md`: they compile without a warning and run."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.native_build import SOURCE, onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import write_tiny_bundle

PAGE = Path(__file__).parents[2] / "docs/native.md"
REFUSED = "input 'input': expected raw pixels uint8 (4, 4, 1), found uint8 (32, 32, 3)"


@pytest.mark.parametrize(("language", "compiler"), [("cpp", "c++ -std=c++17"), ("c", "cc -std=c11")])
def test_page_program_runs(tmp_path: Path, native: Library, language: str, compiler: str) -> None:
    """Its frame has another size than the bundle here, so it prints a message of the library."""
    program = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    (tmp_path / f"app.{language}").write_text(program)
    write_tiny_bundle(tmp_path, name="model")
    library = native.path.parent
    command = [*compiler.split(), "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"app.{language}", "-o", "app"]
    command += [f"-I{SOURCE / 'include'}", f"-L{library}", f"-Wl,-rpath,{library}", "-leetool_runtime"]
    subprocess.run(command, check=True, cwd=tmp_path)
    environment = {**os.environ, "EETOOL_ONNXRUNTIME": str(onnxruntime_library())}
    ran = subprocess.run(["./app"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.stderr.startswith(REFUSED), ran
