"""All distributions build, install into an environment of their own, and work from another folder."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import eetool
import eetool_measure
import eetool_runtime

ROOT = Path(__file__).parents[1]
MAX_RUNTIME_BYTES = 150_000  # a runtime stays small: numpy and a backend are all it needs
PLACES = (ROOT, ROOT / "runtimes/python", ROOT / "runtimes/measure")


@pytest.fixture(scope="module")
def dist(once: Callable[..., Path]) -> Path:
    """Wheels and sdists of all; each wheel is built from its sdist."""
    for name in ("build", "hatchling"):
        pytest.importorskip(name, reason=f"{name} is not installed")

    def build(folder: Path) -> None:
        for place in PLACES:
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(place)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    return once("dist", build)


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with all wheels; what they depend on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = folder / "bin/python"
    wheels = [str(path) for path in dist.glob("*.whl")]
    pip = [sys.executable, "-m", "pip", "--python", str(made), "install", "--quiet", "--no-deps", "--no-index", *wheels]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("pip is not installed")
    assert done.returncode == 0, done.stderr
    # A path in a .pth file: packages of it are found, but none of its own .pth files, so no editable install of ours.
    site = next(folder.glob("lib/python*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("-packages")] or [sysconfig.get_paths()["purelib"]]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    return made


def run(python: Path, folder: Path, *arguments: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheels_and_sdists_hold_what_they_need(dist: Path) -> None:
    assert len(list(dist.iterdir())) == 2 * len(PLACES)
    (wheel,) = dist.glob("eetool-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = ["py.typed", "hw_profiles/rpi4.json", "schemas/bench-1.schema.json"]
    data += ["report/page.html", "report/page.css", "report/page.js"]
    assert {f"eetool/{name}" for name in data} <= names
    assert {name.split("/")[0] for name in names} == {"eetool", f"eetool-{eetool.__version__}.dist-info"}
    for name in ("eetool_runtime", "eetool_measure"):
        (wheel,) = dist.glob(f"{name}-*.whl")
        assert f"{name}/py.typed" in zipfile.ZipFile(wheel).namelist()
    (wheel,) = dist.glob("eetool_runtime-*.whl")
    assert wheel.stat().st_size <= MAX_RUNTIME_BYTES
    for sdist in dist.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        assert {"pyproject.toml", "README.md", "LICENSE"} <= inside
        assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) for name in inside)


def test_what_is_installed_works_from_another_folder(python: Path, bundle: Path, tmp_path: Path) -> None:
    program = "import eetool, eetool_runtime as r; print(eetool.__file__, r.__file__, sep='\\n')"
    places = run(python, tmp_path, "-c", program).split()
    assert all(Path(place).is_relative_to(python.parents[1]) for place in places)
    names = ("eetool", "eetool-runtime", "eetool-measure")
    versions = f"from importlib.metadata import version; print(*map(version, {names}))"
    ours = [package.__version__ for package in (eetool, eetool_runtime, eetool_measure)]
    assert run(python, tmp_path, "-c", versions).split() == ours
    assert len(set(ours)) == 1
    devices = json.loads(run(python, tmp_path, "-m", "eetool", "devices", "--json"))["devices"]
    assert "rpi4" in {device["name"] for device in devices}
    assert "is what it says" in run(python, tmp_path, python.with_name("eetool"), "verify", bundle)
