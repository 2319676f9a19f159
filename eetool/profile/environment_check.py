"""Check of this machine: backends and torch, each in a child process, and conditions that disturb measurements.

A library built for another CPU ends with an illegal instruction, which in a child process can be reported.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import eetool
import eetool_runtime
from eetool_measure.machine import Machine, read_machine
from eetool_measure.meters.registry import find_meter
from eetool_measure.network_interface import ON, power_save, wifi_interfaces
from eetool_runtime.errors import BackendError, EarlyExitError
from eetool_runtime.machine import ROOT

SCHEMA = "doctor/1"
_TIMEOUT_S = 120  # the first import of torch from a slow SD card is slow
_PROBES = Path(__file__).parent / "probes"
_METERS = ("pmic", "hwmon", "rapl")
_SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_EXTRAS = {
    "tflite": ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    "mcu": ("tflite_micro",),
    "gpu": ("accelerate",),
    "search": ("optuna", "psycopg"),
    "report": ("vl_convert",),
    "power": ("zeus",),
    "models": ("timm", "torchvision", "transformers"),
}

# relu(conv3x3(ones)) with weights of 0.5 over 3 channels is 13.5 everywhere.
_BACKEND = """
import json, sys, numpy as np
from pathlib import Path
from eetool_runtime.backends import backend_for, open_graph
path = Path(sys.argv[1])
(out,) = open_graph(path).run({"x": np.ones((1, 3, 8, 8), np.float32)})
if out.shape != (1, 4, 6, 6) or abs(out - 13.5).max() > 1e-4:
    sys.exit(f"error: it computes wrongly: {out.reshape(-1)[:3].tolist()} and not 13.5")
backend = backend_for(path.suffix[1:])
print(json.dumps({"version": f"{backend.name} {backend.version}", "threads": None}))
"""
_TORCH = """
import json, os, torch
if (torch.ones(8, 8) @ torch.ones(8, 8))[0, 0].item() != 8:
    raise SystemExit("error: it computes wrongly")
print(json.dumps({"version": f"torch {torch.__version__}", "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True)
class LibraryCheck:
    """Result for one library: its version, or the problem and a hint."""

    name: str
    needed: bool
    ok: bool
    version: str | None = None
    threads: int | None = None
    problem: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class EnvironmentReport:
    """Document `doctor/1`. `packages` maps each extra to the versions of its packages, null if not installed."""

    versions: dict[str, str]
    machine: Machine
    checks: tuple[LibraryCheck, ...]
    packages: dict[str, dict[str, str | None]]
    meters: tuple[str, ...]
    settings: dict[str, str | None]
    ssh: bool
    notes: tuple[str, ...]

    @property
    def missing(self) -> tuple[LibraryCheck, ...]:
        """Required libraries that do not work."""
        return tuple(check for check in self.checks if check.needed and not check.ok)


def check_environment() -> EnvironmentReport:
    """Check all libraries and conditions; problems are reported, not raised."""
    machine = read_machine()
    return EnvironmentReport(
        versions={"eetool": eetool.__version__, "eetool-runtime": eetool_runtime.__version__},
        machine=machine,
        checks=(
            probe_library(
                "onnx backend", _BACKEND, (str(_PROBES / "probe.onnx"),), True, "pip install eetool-runtime[onnx]"
            ),
            probe_library(
                "tflite backend", _BACKEND, (str(_PROBES / "probe.tflite"),), False, "pip install eetool[tflite]"
            ),
            probe_library("torch", _TORCH, (), True, "pip install torch"),
        ),
        packages={extra: {name: _version(name) for name in names} for extra, names in _EXTRAS.items()},
        meters=tuple(name for name in _METERS if _readable(name)),
        settings={name: os.environ.get(name) for name in _SETTINGS},
        ssh=shutil.which("ssh") is not None,
        notes=environment_notes(machine),
    )


def probe_library(name: str, code: str, arguments: Sequence[str], needed: bool, install: str) -> LibraryCheck:
    """Check a library in a child process.

    Args:
        name: name of the library.
        code: program that prints a version and a thread count as JSON.
        arguments: its arguments.
        needed: whether eetool requires the library.
        install: command that installs it, for the hint.
    """
    command = [sys.executable, "-P", "-c", code, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return LibraryCheck(name, needed, False, problem=f"no answer within {_TIMEOUT_S} s")
    if done.returncode == 0:
        answer = json.loads(done.stdout)
        return LibraryCheck(name, needed, True, answer["version"], answer["threads"])
    if done.returncode == -signal.SIGILL:
        problem = "an illegal instruction: it was built for a newer CPU than this one"
        return LibraryCheck(
            name, needed, False, problem=problem, hint="Install an older version, or a build for this machine."
        )
    if done.returncode < 0:
        return LibraryCheck(
            name, needed, False, problem=f"it was killed by {signal.Signals(-done.returncode).name}", hint=install
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode}"]
    problem = lines[-1].removeprefix("error: ").removeprefix(f"{BackendError.__module__}.BackendError: ")
    return LibraryCheck(name, needed, False, problem=problem, hint=install)


def environment_notes(machine: Machine) -> tuple[str, ...]:
    """Return the conditions of this machine that disturb a measurement."""
    notes = []
    if machine.governor not in (None, "performance"):
        notes.append(
            f"the frequency governor is {machine.governor!r}: for steady times, "
            "`echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor`"
        )
    low = machine.clock_mhz is not None and machine.max_clock_mhz is not None
    if low and (machine.clock_mhz or 0) < 0.9 * (machine.max_clock_mhz or 0):
        notes.append(f"the clock is at {machine.clock_mhz:.0f} of {machine.max_clock_mhz:.0f} MHz")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5 * machine.cores:
        notes.append(f"other programs are running: a load of {load:.1f} on {machine.cores} cores")
    return (*notes, *power_save_notes())


def power_save_notes(root: Path = ROOT) -> list[str]:
    """Return a warning for every Wi-Fi interface that saves power; `root` is the folder of `proc` and `sys`."""
    return [
        f"the Wi-Fi interface {name} saves power, which delays a server's answers by tens of milliseconds: "
        f"`sudo iw dev {name} set power_save off`"
        for name in wifi_interfaces(root)
        if power_save(name, root) == ON
    ]


def _version(module: str) -> str | None:
    """Return the version of an installed package without importing it."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:  # its name differs from its module
        names = importlib.metadata.packages_distributions().get(module)
        return importlib.metadata.version(names[0]) if names else "unknown"


def _readable(meter: str) -> bool:
    try:
        find_meter(meter)
    except EarlyExitError as error:
        return error.exit_code == 2  # there are several, and the user must name one
    return True
