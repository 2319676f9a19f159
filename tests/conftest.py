"""One small model, taken through the whole chain once, for every test that looks at what comes out."""

import fcntl
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

from eetool.cli.app import main
from eetool.data.registry import load_source
from eetool.data.source import Source

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


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)` is a folder that `make` filled, once per test run, though it run in several processes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own in there

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = base / f"once-{name}"
        with (base / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
            if not folder.exists():
                unfinished = base / f"once-{name}-{os.getpid()}"
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return made


def _did(*arguments: object) -> None:
    answered = run_cli(*arguments)
    assert answered.code == 0, answered


@pytest.fixture(scope="session")
def trained(once: Once) -> Path:
    """resnet8 with two early exits after a few epochs: good enough that easy digits leave early. Read only."""
    options = ("--exits", 2, "--branch", "linear", "--epochs", 4, "--batch-size", 64)
    command = ("train", "resnet8", "--data", "digits", *options, "-o")
    return once("trained", lambda folder: _did(*command, folder / "model.pt")) / "model.pt"


@pytest.fixture(scope="session")
def tuned(trained: Path, once: Once) -> Path:
    """The trained model with operating points. Read only."""
    command = ("tune", trained, "--data", "digits", "--max-accuracy-drop", 4, "-o")
    return once("tuned", lambda folder: _did(*command, folder / "model.pt")) / "model.pt"


@pytest.fixture(scope="session")
def bundle(tuned: Path, once: Once) -> Path:
    """The bundle of the tuned model, with references. Read only."""
    return once("bundle", lambda folder: _did("export", tuned, "-o", folder / "model.eebundle")) / "model.eebundle"


@pytest.fixture
def spoilable(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return shutil.copytree(bundle, tmp_path / "model.eebundle")
