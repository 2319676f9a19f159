"""Running the commands of others, and one line for the user where one of them cannot do its work."""

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


class Missing(Exception):
    """Something this needs is not there; the message is one line for the user."""


def attempt(what: str, *words: object) -> None:
    """Run a command that fetches, builds or unpacks `what`; raise Missing with the end of what it said."""
    done = ask(*words)
    if done.returncode != 0:
        raise Missing(f"{what} could not be had: {last_line(done.stdout)}")


def pip(what: str, *words: object, python: object = sys.executable) -> None:
    """Run the pip of an interpreter; raises as `attempt` does."""
    attempt(what, python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def ask(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command, without the paths of this Python; what it says on both streams is its stdout."""
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
    """The last line that a command said."""
    return (text.strip().splitlines() or ["no message"])[-1]
