"""The tests of the Python runtime, run against the native one."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers import native_contract
from tests.helpers.native_build import build
from tests.helpers.native_runtime import Library

ROOT = Path(__file__).parents[2]
MIN_TESTS = 100  # fewer would mean that most are left out


def test_python_contract_holds_for_the_native_runtime(native: Library) -> None:
    """Tests that are left out, and why, are in `native_contract.DIFFERENT`; a test that uses no native model fails."""
    libraries = {"EETOOL_NATIVE": native.path, "EETOOL_SCRIPTED": build("eetool_scripted") / "libeetool_scripted.so"}
    environment = {**os.environ, **{name: str(path) for name, path in libraries.items()}}
    files = [f"runtimes/python/tests/test_{name}.py" for name in native_contract.FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.helpers.native_contract", "-p", "no:xdist", *files]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= MIN_TESTS
