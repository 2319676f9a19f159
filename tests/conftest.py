"""One small model, taken through the whole chain once, for every test that looks at what comes out."""

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small nets; two pools of torch would fight for the cores
os.environ.setdefault("EETOOL_ACCEPT_UNSTABLE", "1")  # no test may depend on how quiet a machine is

import click.testing
import pytest
from hypothesis import HealthCheck, settings

from eetool.cli import main
from eetool.data.sources import Source, load_source

# A job in a shell's background begins with Ctrl-C ignored, and so would every child that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline, because a test must not fail on a busy machine; no randomness, because it must not fail on Tuesdays.
settings.register_profile(
    "eetool", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("eetool")


class Answered:
    """What a command did: its exit code, and what it said where."""

    def __init__(self, result: click.testing.Result) -> None:
        self.code, self.stdout, self.stderr = result.exit_code, result.stdout, result.stderr

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.stdout}{self.stderr}"


Cli = Callable[..., Answered]


def run_cli(*arguments: object) -> Answered:
    answered = Answered(click.testing.CliRunner().invoke(main, [str(a) for a in arguments]))
    assert "Traceback" not in answered.stderr
    return answered


@pytest.fixture(scope="session")
def cli() -> Cli:
    """`cli("train", "resnet8", ...)` runs a command in this process."""
    return run_cli


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_disk(n):` no file may grow beyond n bytes, so that writes fail half-way as on a full disk."""

    @contextmanager
    def limited(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB, which fills up as a real one does."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="session")
def digits() -> Source:
    return load_source("digits")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """resnet8 with two early exits after a few epochs: good enough that easy digits leave early. Read only."""
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    options = ("--exits", 2, "--branch", "linear", "--epochs", 4, "--batch-size", 64)
    answered = run_cli("train", "resnet8", "--data", "digits", *options, "-o", path)
    assert answered.code == 0, answered
    return path


@pytest.fixture(scope="session")
def tuned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model with operating points. Read only."""
    path = tmp_path_factory.mktemp("tuned") / "model.pt"
    answered = run_cli("tune", trained, "--data", "digits", "--max-accuracy-drop", 4, "-o", path)
    assert answered.code == 0, answered
    return path


@pytest.fixture(scope="session")
def bundle(tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the tuned model, with references. Read only."""
    path = tmp_path_factory.mktemp("bundle") / "model.eebundle"
    answered = run_cli("export", tuned, "-o", path)
    assert answered.code == 0, answered
    return path


@pytest.fixture
def spoilable(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return shutil.copytree(bundle, tmp_path / "model.eebundle")
