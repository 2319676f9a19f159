"""Distributions: they build, install into an environment of their own, and work from another folder."""

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
MAX_RUNTIME_BYTES = 200_000  # see docs/decisions/0020 and 0062
HW_PROFILES = sorted((ROOT / "hw_profiles").glob("*.json"))
PLACES = (ROOT, ROOT / "runtimes/python", ROOT / "runtimes/measure")


@pytest.fixture(scope="module")
def dist(once: Callable[..., Path]) -> Path:
    """Wheels and sdists of all distributions; each wheel is built from its sdist."""
    for name in ("build", "hatchling"):
        pytest.importorskip(name, reason=f"{name} is not installed")

    def build(folder: Path) -> None:
        for place in PLACES:
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(place)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    return once("dist", build)


def make_environment(folder: Path) -> Path:
    """Return the interpreter of a fresh environment, which borrows all dependencies from this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    # A path in a .pth file: its packages are found, but not its own .pth files, so no editable install of eetool.
    site = next(folder.glob("lib/python*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("-packages")] or [sysconfig.get_paths()["purelib"]]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    return folder / "bin/python"


def pip_install(python: Path, *arguments: object) -> None:
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    options += ["--no-compile"]  # of the modules that no test imports
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(pip, env=environment, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("pip is not installed")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with all wheels."""
    interpreter = make_environment(tmp_path_factory.mktemp("environment"))
    pip_install(interpreter, *dist.glob("*.whl"))
    return interpreter


def run(python: Path, folder: Path, *arguments: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheels_and_sdists_contain_their_data(dist: Path) -> None:
    assert len(list(dist.iterdir())) == 2 * len(PLACES)
    (wheel,) = dist.glob("eetool-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [
        "py.typed",
        "schemas/bench-1.schema.json",
        "schemas/bench-2.schema.json",
        "schemas/stream_bench-1.schema.json",
        *(f"hw_profiles/{path.name}" for path in HW_PROFILES),
    ]
    data += ["report/page.html", "report/page.css", "report/page.js"]
    assert {f"eetool/{name}" for name in data} <= names
    assert {name.split("/")[0] for name in names} == {"eetool", f"eetool-{eetool.__version__}.dist-info"}
    for name in ("eetool_runtime", "eetool_measure"):
        (wheel,) = dist.glob(f"{name}-*.whl")
        assert f"{name}/py.typed" in zipfile.ZipFile(wheel).namelist()
    (wheel,) = dist.glob("eetool_runtime-*.whl")
    assert wheel.stat().st_size <= MAX_RUNTIME_BYTES
    assert "eetool_runtime/offload/inference.proto" in zipfile.ZipFile(wheel).namelist()
    for sdist in dist.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        assert {"pyproject.toml", "README.md", "LICENSE"} <= inside
        assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) for name in inside)


def test_installed_packages_work_from_another_folder(python: Path, bundle: Path, tmp_path: Path) -> None:
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
    assert "computes what it records" in run(python, tmp_path, python.with_name("eetool"), "verify", bundle)


def installed_profiles(python: Path, folder: Path) -> Path:
    """Return the folder of hw profiles that an installed eetool uses; check that it lists every device."""
    devices = json.loads(run(python, folder, "-m", "eetool", "devices", "--json"))["devices"]
    assert {device["name"] for device in devices} >= {path.stem for path in HW_PROFILES}
    program = "from eetool.latency.table.hw_profile import profiles_folder; print(profiles_folder())"
    return Path(run(python, folder, "-c", program).strip())


def test_hw_profiles_wheel_from_sdist_are_package_data(python: Path, tmp_path: Path) -> None:
    profiles = installed_profiles(python, tmp_path)
    assert profiles.is_relative_to(python.parents[1])
    assert {path.name for path in profiles.iterdir()} == {path.name for path in HW_PROFILES}


def test_wheel_from_checkout_equals_that_from_sdist(dist: Path, tmp_path: Path) -> None:
    """So what holds for one that is installed holds for the other."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (direct,), (released,) = tmp_path.glob("*.whl"), dist.glob("eetool-*.whl")
    contents = []
    for wheel in (direct, released):
        with zipfile.ZipFile(wheel) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    assert contents[0].keys() == contents[1].keys()
    assert [name for name, data in contents[0].items() if data != contents[1][name]] == []


def test_hw_profiles_editable_install_are_those_of_the_checkout(dist: Path, tmp_path: Path) -> None:
    pytest.importorskip("editables", reason="editables is not installed")
    python = make_environment(tmp_path / "environment")
    pip_install(python, *dist.glob("eetool_*.whl"), "--editable", ROOT)
    assert installed_profiles(python, tmp_path) == ROOT / "hw_profiles"
