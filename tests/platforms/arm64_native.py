"""The native runtime on emulated aarch64: cross-built, its own tests, and the decisions of a bundle."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.native_build import SOURCE
from tests.platforms.commands import REPOSITORY, MissingError, attempt, last_line
from tests.platforms.decisions import Trial, compare

PREFIX = "aarch64-linux-gnu-"
HELPERS = ("native_build.py", "native_runtime.py")
PROGRAMS = ("eetool_tests", "header_in_c")
SCRIPT = Path(__file__).with_name("decide_native.py")

Emulate = Callable[..., "subprocess.CompletedProcess[str]"]


def cross_build(folder: Path) -> Path:
    """Build library, tests and Debian packages for aarch64 and return the build folder; raises MissingError."""
    absent = [tool for tool in ("cmake", f"{PREFIX}g++") if shutil.which(tool) is None]
    absent += [
        header for header in ("nlohmann/json.hpp", "doctest/doctest.h") if not Path("/usr/include", header).exists()
    ]
    if absent:
        raise MissingError(f"{', '.join(absent)} not found; apt install cmake g++-aarch64-linux-gnu and two headers")
    target = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_INSTALL_PREFIX=/usr")
    target += (f"-DCMAKE_CXX_COMPILER={PREFIX}g++", f"-DCMAKE_C_COMPILER={PREFIX}gcc", "-DEETOOL_BUILD_TESTS=ON")
    attempt("the native runtime", "cmake", "-S", SOURCE, "-B", folder, *target)
    attempt("the native runtime", "cmake", "--build", folder)
    attempt("its packages", "cpack", "--config", folder / "CPackConfig.cmake", "-B", folder / "packages")
    return folder


def install(root: Path, built: Path) -> None:
    """Unpack the Debian package of the library in the root, and put tests and helpers beside it."""
    (package,) = (built / "packages").glob("libeetool-runtime1_*_arm64.deb")
    attempt(package.name, "dpkg-deb", "-x", package, root)
    place = root / "opt/native"
    shutil.rmtree(place, ignore_errors=True)
    (place / "tests/helpers").mkdir(parents=True)
    for name in HELPERS:
        shutil.copy2(REPOSITORY / "tests/helpers" / name, place / "tests/helpers")
    for name in (*PROGRAMS, "libeetool_runtime.so.1"):
        shutil.copy2(built / name, place)
    shutil.copy2(SCRIPT, place)


def run_native_tests(emulate: Emulate) -> dict[str, Any]:
    """Run the tests in C++."""
    summaries = {}
    for name in PROGRAMS:
        done = emulate(program=f"/opt/native/{name}")
        summaries[name] = {"ok": done.returncode == 0, "summary": last_line(done.stdout)}
    return {"ok": all(s["ok"] for s in summaries.values()), "programs": summaries}


def run_native_decisions(emulate: Emulate, place: Path, trial: Trial) -> dict[str, Any]:
    """Compare the decisions there with those of the Python runtime here; `place` holds the files of the trial."""
    library = "/usr/lib/aarch64-linux-gnu/libeetool_runtime.so.1"
    names = (trial.bundle.name, trial.inputs.name, trial.thresholds.name, "native.npz")
    done = emulate("/opt/native/decide_native.py", library, *(f"/opt/trial/{name}" for name in names))
    if done.returncode != 0:
        return {"ok": False, "error": done.stdout.strip()}
    return compare(trial, place / "native.npz", json.loads(last_line(done.stdout)))
