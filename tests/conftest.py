"""Shared fixtures: one small model that is trained, tuned and exported once per test run."""

import fcntl
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small nets; two thread pools of torch would compete for the cores
os.environ.setdefault("EETOOL_ACCEPT_UNSTABLE", "1")  # no test may depend on the load of the machine
os.environ.setdefault("EETOOL_CHECK_TABLE", "0")  # nor measure probes, but those that test the check

import click.testing
import pytest
from hypothesis import HealthCheck, settings

from eetool.cli.app import main
from eetool.data.registry import load_source
from eetool.data.source import Source
from tests.helpers.hints import foreign_options
from tests.helpers.native_build import build, missing_tool
from tests.helpers.native_runtime import Library
from tests.platforms.decisions import formats_here

# Features that a command keeps in the user's cache are those of this test process alone.
_CACHE = tempfile.TemporaryDirectory(prefix="eetool-cache-")
os.environ.setdefault("EETOOL_CACHE", _CACHE.name)

# A background job of a shell starts with Ctrl-C ignored, and children that a test interrupts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline, because a test must not fail on a busy machine; no randomness, because results must repeat.
settings.register_profile(
    "eetool", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("eetool")


def pytest_collection_finish() -> None:
    """Keep what is imported out of garbage collections: code that measures times begins with one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def frozen_imports() -> Iterator[None]:
    """Keep out of them, too, what the tests of a module imported: torch's exporter alone makes 190,000 objects."""
    yield
    gc.collect()
    gc.freeze()


class CommandOutput:
    """Exit code, standard output and standard error of a command."""

    def __init__(self, result: click.testing.Result) -> None:
        self.code, self.stdout, self.stderr = result.exit_code, result.stdout, result.stderr

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.stdout}{self.stderr}"


Cli = Callable[..., CommandOutput]


def run_cli(*arguments: object) -> CommandOutput:
    output = CommandOutput(click.testing.CliRunner().invoke(main, [str(a) for a in arguments]))
    assert "Traceback" not in output.stderr
    if output.code and "\n       " in output.stderr:
        hint = output.stderr.rpartition("\n       ")[2]
        assert not foreign_options(hint, [str(a) for a in arguments]), f"a hint names options of others: {hint}"
    return output


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Return a function that runs a command in this process, as in `cli("train", "resnet8", ...)`."""
    return run_cli


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context manager that limits files to a size in bytes, so that writes fail half-way as on a full disk."""

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
    """Yield a mounted file system of 128 KiB."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(mount_point)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield mount_point
    subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


@pytest.fixture(scope="session")
def digits() -> Source:
    return load_source("digits")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder of all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # contains one folder per worker


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(shared_folder: Path) -> Once:
    """Return a function that lets `make` fill a folder once per test run, shared by all test processes."""
    base = shared_folder

    def fill_once(name: str, make: Callable[[Path], object]) -> Path:
        folder = base / f"once-{name}"
        with (base / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
            if not folder.exists():
                unfinished = base / f"once-{name}-{os.getpid()}"
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return fill_once


Sharing = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def sharing_conversions(shared_folder: Path) -> Sharing:
    """Return a context manager in which equal components are converted and quantised once per test run."""
    from tests.helpers.shared_conversions import shared_conversions  # imports torch

    return partial(shared_conversions, shared_folder / "conversions")


@pytest.fixture(scope="module")
def converted_once(sharing_conversions: Sharing) -> Iterator[None]:
    """Share conversions during the tests of a module."""
    with sharing_conversions():
        yield


def _run(*arguments: object) -> str:
    output = run_cli(*arguments)
    assert output.code == 0, output
    return output.stdout


@pytest.fixture(scope="session")
def trained(once: Once) -> Path:
    """Return the read-only checkpoint of resnet8 with two early exits; after 4 epochs easy digits leave early."""
    options = ("--exits", 2, "--branch", "linear", "--epochs", 4, "--batch-size", 64)
    command = ("train", "resnet8", "--data", "digits", *options, "-o")
    return once("trained", lambda folder: _run(*command, folder / "model.pt")) / "model.pt"


@pytest.fixture(scope="session")
def tuned(trained: Path, once: Once) -> Path:
    """Return the read-only checkpoint of the trained model with operating points."""
    command = ("tune", trained, "--data", "digits", "--max-accuracy-drop", 4, "-o")
    return once("tuned", lambda folder: _run(*command, folder / "model.pt")) / "model.pt"


@pytest.fixture(scope="session")
def bundle(tuned: Path, once: Once, sharing_conversions: Sharing) -> Path:
    """Return the read-only bundle of the tuned model, with references; beside it is the document of its export."""

    def export(folder: Path) -> None:
        with sharing_conversions():
            document = _run("export", tuned, "-o", folder / "model.eebundle", "--json")
        (folder / "export.json").write_text(document, encoding="utf-8")

    return once("bundle", export) / "model.eebundle"


@pytest.fixture(scope="session")
def all_variants(tuned: Path, once: Once, sharing_conversions: Sharing) -> Path:
    """Return the read-only bundle of the tuned model in every variant that can be made here, without references."""
    formats = [word for graph_format in formats_here() for word in ("--format", graph_format)]
    precisions = ("--precision", "fp32", "--precision", "int8", "--no-judge-speed")  # however busy the machine is
    command = ("export", tuned, *formats, *precisions, "--no-reference", "-o")

    def export(folder: Path) -> None:
        with sharing_conversions():
            _run(*command, folder / "model.eebundle")

    return once("variants", export) / "model.eebundle"


@pytest.fixture
def bundle_copy(bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may change."""
    return shutil.copytree(bundle, tmp_path / "model.eebundle")


@pytest.fixture(scope="session")
def native_or_none() -> Library | None:
    """Return the native runtime, built once, or None where this machine cannot build it."""
    return Library(build("eetool_runtime") / "libeetool_runtime.so") if missing_tool() is None else None


@pytest.fixture(scope="session")
def native(native_or_none: Library | None) -> Library:
    """Return the native runtime; the test is skipped where this machine cannot build it."""
    if native_or_none is None:
        pytest.skip(f"the native runtime cannot be built: {missing_tool()}")
    return native_or_none
