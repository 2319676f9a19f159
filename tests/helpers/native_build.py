"""Build of the native runtime for tests, once per checkout and then reused."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "runtimes/cpp"
BUILD = Path(__file__).parents[2] / "build/native"


def missing_tool() -> str | None:
    """Return what is missing to build the native runtime on this machine, or None."""
    if shutil.which("cmake") is None:
        return "no cmake"
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        return "no C++ compiler"
    if not Path("/usr/include/nlohmann/json.hpp").exists():
        return "no headers of nlohmann-json"
    return None


def build(target: str) -> Path:
    """Build `target` and return the build folder; processes wait for each other. Raises where it does not compile."""
    BUILD.mkdir(parents=True, exist_ok=True)
    has_doctest = Path("/usr/include/doctest/doctest.h").exists()
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        options = ["-DEETOOL_WARNINGS_AS_ERRORS=ON", f"-DEETOOL_BUILD_TESTS={'ON' if has_doctest else 'OFF'}"]
        options += ["-DCMAKE_INSTALL_PREFIX=/usr"]  # the folders of Debian's packages
        for command in (
            ["cmake", "-S", str(SOURCE), "-B", str(BUILD), *options],
            ["cmake", "--build", str(BUILD), "--target", target],
        ):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-4000:]}")
    return BUILD


def onnxruntime_library() -> Path:
    """Return the shared library of the installed onnxruntime; raises FileNotFoundError for old releases without one."""
    spec = find_spec("onnxruntime")
    assert spec is not None
    assert spec.submodule_search_locations
    found = sorted(Path(spec.submodule_search_locations[0], "capi").glob("libonnxruntime.so.*"))
    if not found:
        raise FileNotFoundError("this onnxruntime has no libonnxruntime.so")
    return found[0]


def litert_library() -> Path | None:
    """Return the shared library of the installed ai-edge-litert, or None."""
    spec = find_spec("ai_edge_litert")
    folders = (spec.submodule_search_locations if spec is not None else None) or []
    return next((path for folder in folders if (path := Path(folder, "libLiteRt.so")).exists()), None)
