"""Test of both runtimes on emulated aarch64: their own tests, and comparison of results with this machine.

    sudo make test-arm64            or    python -m tests.platforms.arm64 [--bundle B --inputs X.npz]

It unpacks a Debian bookworm arm64 root (the first stage of debootstrap is enough), installs the aarch64 wheels and
those of the runtime and the instruments there, and runs Python through qemu-user. The native runtime is cross-built,
and its Debian package unpacked there; without g++-aarch64-linux-gnu that part is left out with a message. The root is
kept in $ARM64_ROOT (build/arm64). It prints one JSON document. The exit code is 4 if a test fails or a result differs,
5 if a requirement is missing. No time is reported, because emulation does not represent speed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.platforms import arm64_native
from tests.platforms.commands import DISTRIBUTIONS, REPOSITORY, MissingError, attempt, copy_tests, last_line, pip
from tests.platforms.decisions import SCRIPT, Trial, compare, prepare

MIRROR = "http://deb.debian.org/debian"
QEMU = "qemu-aarch64-static"
TOOLS = ("debootstrap", QEMU, "dpkg-deb")
REQUIREMENTS = ("numpy", "onnxruntime", "ai-edge-litert", "onnx", "pillow", "pytest", "hypothesis")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux2014")
# The Cortex-A72 of a Raspberry Pi 4, for the emulator and in the files that libraries read.
CPU = "cortex-a72"
CPU_INFO = "processor\t: {core}\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n" + (
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
)
CORES = 2
TRIAL = "opt/trial"  # bundle and inputs, in the root
# Several tests start Python from Python; the kernel can start the emulator, but not the emulated program.
PYTHON = "opt/python"
LAUNCHER = f"""#!/usr/bin/{QEMU} /usr/bin/python3
import os
import sys

emulator = "/usr/bin/{QEMU}"
os.execv(emulator, [emulator, "-cpu", "{CPU}", "-0", "/{PYTHON}", "/usr/bin/python3", *sys.argv[1:]])
"""


def main() -> int:
    """Build the root if needed, run the tests, compare the results, print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="by default a small one is trained and exported")
    parser.add_argument("--inputs", type=Path, help="an .npz with its input tensors; by default digits")
    parser.add_argument("--format", action="append", dest="formats", help="of the bundle made here; repeatable")
    parser.add_argument("--count", type=int, default=1000, help="of inputs")
    parser.add_argument("--tests", action=argparse.BooleanOptionalAction, default=True, help="run the runtime's tests")
    parser.add_argument("--python", action=argparse.BooleanOptionalAction, default=True, help="test the Python runtime")
    options = parser.parse_args()
    build = Path(os.environ.get("ARM64_ROOT") or REPOSITORY / "build/arm64").resolve()
    root = build / "root"
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin"
    try:
        require_tools()
        build_root(root)
        install(root)
    except MissingError as missing:
        sys.stderr.write(f"test-arm64 cannot run: {missing}\n")
        return 5
    tests = run_tests(root) if options.tests and options.python else None
    trial = prepare(build / "trial", options.bundle, options.inputs, options.formats, options.count)
    copy_trial(root, trial)
    decisions = run_decisions(root, trial) if options.python else None
    native = run_native(root, build / "native", trial)
    ok = all(part["ok"] for part in (tests, decisions, native) if part is not None)
    document = {"schema": "platforms/1", "ok": ok, "emulated": CPU, "tests": tests, "decisions": decisions}
    document["native"] = native
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0 if ok else 4


def require_tools() -> None:
    """Raise MissingError unless this process can build a root and change into it."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        raise MissingError(f"{', '.join(absent)} not found; apt install debootstrap qemu-user-static")
    if os.geteuid() != 0:
        raise MissingError("chroot needs root; run it with sudo")


def build_root(root: Path) -> None:
    """Unpack the packages of Debian arm64 with Python, unless this was done before."""
    done = root.with_name("root.done")
    if done.exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    first_stage = "debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libstdc++6 bookworm"
    attempt(f"Debian packages from {MIRROR}", *first_stage.split(), root, MIRROR)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        attempt(package.name, "dpkg-deb", "-x", package, root)
        package.unlink()
    shutil.copy2(str(shutil.which(QEMU)), root / "usr/bin" / QEMU)
    write(root / PYTHON, LAUNCHER)
    (root / PYTHON).chmod(0o755)
    # Nothing of this machine is mounted there. onnxruntime reads the processor from these files.
    write(root / "proc/cpuinfo", "".join(CPU_INFO.format(core=core) for core in range(CORES)))
    for name in ("possible", "present"):
        write(root / "sys/devices/system/cpu" / name, f"0-{CORES - 1}\n")
    done.touch()


def install(root: Path) -> None:
    """Install the libraries, once per version of the constraints, and our own wheels, every time."""
    libraries, done = root / "opt/libraries", root.with_name("libraries.done")
    constraints = REPOSITORY / "constraints.txt"
    requirements_text = " ".join(REQUIREMENTS) + "\n" + constraints.read_text()
    if not done.exists() or done.read_text() != requirements_text:
        shutil.rmtree(libraries, ignore_errors=True)
        target = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
        target += [f"--platform={name}_aarch64" for name in PLATFORMS]
        pip("aarch64 wheels", "install", "--target", libraries, *target, "--constraint", constraints, *REQUIREMENTS)
        done.write_text(requirements_text)
    wheels = root.with_name("wheels")
    shutil.rmtree(wheels, ignore_errors=True)
    pip("our wheels", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, *DISTRIBUTIONS)
    shutil.rmtree(root / "opt/runtime", ignore_errors=True)
    pip("our wheels", "install", "--no-deps", "--target", root / "opt/runtime", *wheels.glob("*.whl"))


def run_tests(root: Path) -> dict[str, Any]:
    """Run the tests of the runtime and the instruments on the installed wheels, not on the source."""
    place = root / "opt/tests"
    shutil.rmtree(place, ignore_errors=True)
    copy_tests(place)
    done = emulate(
        root,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        "/opt/tests",
        "-c",
        "/opt/tests/pytest.ini",
        "/opt/tests/tests",
    )
    sys.stderr.write(done.stdout)
    return {"ok": done.returncode == 0, "summary": last_line(done.stdout)}


def copy_trial(root: Path, trial: Trial) -> None:
    """Copy bundle, inputs and thresholds to the root."""
    place = root / TRIAL
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(trial.bundle, place / trial.bundle.name)
    for file in (SCRIPT, trial.inputs, trial.thresholds):
        shutil.copy2(file, place)


def run_decisions(root: Path, trial: Trial) -> dict[str, Any]:
    """Compare results here and there with the same bundle, inputs and thresholds."""
    files = (SCRIPT.name, trial.bundle.name, trial.inputs.name, trial.thresholds.name, "there.npz")
    done = emulate(root, *(f"/{TRIAL}/{name}" for name in files))
    if done.returncode != 0:
        return {"ok": False, "error": done.stdout.strip()}
    return compare(trial, root / TRIAL / "there.npz", json.loads(last_line(done.stdout)))


def run_native(root: Path, folder: Path, trial: Trial) -> dict[str, Any] | None:
    """Build and test the native runtime; return None where this machine cannot build it."""
    try:
        arm64_native.install(root, arm64_native.cross_build(folder))
    except MissingError as missing:
        sys.stderr.write(f"the native runtime is not tested: {missing}\n")
        return None
    emulated = partial(emulate, root)
    tests = arm64_native.run_native_tests(emulated)
    decisions = arm64_native.run_native_decisions(emulated, root / TRIAL, trial)
    return {"ok": tests["ok"] and decisions["ok"], "tests": tests, "decisions": decisions}


def emulate(root: Path, *words: str, program: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the emulated Python, or another program of the root."""
    paths = {
        "PATH": "/usr/sbin:/usr/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/opt/runtime:/opt/libraries:/opt/native",
        "LD_LIBRARY_PATH": "/opt/native",
    }
    start = [f"/{PYTHON}"] if program is None else [f"/usr/bin/{QEMU}", "-cpu", CPU, program]
    return subprocess.run(
        ["chroot", str(root), *start, *words], env=paths, stdout=subprocess.PIPE, text=True, check=False
    )


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
