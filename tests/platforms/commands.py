"""Execution of external commands, with one line for the user where one fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME, MEASURE = DISTRIBUTIONS = REPOSITORY / "runtimes/python", REPOSITORY / "runtimes/measure"

PYTEST_INI = """\
[pytest]
testpaths = tests
pythonpath = .
addopts = -ra -p no:anyio --strict-markers --strict-config --import-mode=importlib
filterwarnings = error
"""


class MissingError(Exception):
    """A requirement is missing; the message is one line for the user."""


def attempt(what: str, *words: object) -> None:
    """Run a command that fetches, builds or unpacks `what`; raise MissingError with its last line of output."""
    done = ask(*words)
    if done.returncode != 0:
        raise MissingError(f"{what} not available: {last_line(done.stdout)}")


def pip(what: str, *words: object, python: object = sys.executable) -> None:
    """Run the pip of an interpreter; raises as `attempt`."""
    attempt(what, python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def ask(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command without the paths of this Python; both output streams are in `stdout`."""
    command = [str(word) for word in words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=cwd, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def copy_tests(place: Path) -> None:
    """Copy the tests of both distributions and their helpers to `place/tests`, apart from the source."""
    shutil.copytree(RUNTIME / "tests", place / "tests")
    shutil.copytree(
        MEASURE / "tests", place / "tests", dirs_exist_ok=True, ignore=shutil.ignore_patterns("conftest.py")
    )
    shutil.copytree(REPOSITORY / "tests/helpers", place / "tests/helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "pytest.ini").write_text(PYTEST_INI)


def last_line(text: str) -> str:
    """Return the last line of the output of a command."""
    return (text.strip().splitlines() or ["no message"])[-1]
