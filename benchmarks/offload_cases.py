"""Bundles of `offload.py`: which networks are cut where, and the commands that make them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.registry import load_source
from eetool.data.splits import TEST, recorded_split
from eetool.data.views import take_examples
from eetool.export.calibration import calibration_inputs
from eetool_runtime import open_bundle

ROOT = Path(__file__).parents[1]
# A cascade of two published networks, and single ones whose exits are untrained: only their times and sizes count.
CASCADE, SMALL, LARGE = "cascade", "resnet56", "mobilenetv2"
_FEW, _TRAINING = 600, 540  # images of data for which only times and sizes count
_UNSTABLE = 7  # exit code of a measurement on a busy machine


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    cifar: Path
    weights: Path
    out: Path
    server_python: Path | None
    device: str
    devices: tuple[str, ...]
    calls: int
    link_calls: int
    runs: int
    images: int
    passes: int
    limit: int | None

    @property
    def data(self) -> str:
        """Value of `--data`."""
        return f"cifar10:{self.cifar}"

    @property
    def repository(self) -> Path:
        """Folder of the server's models."""
        return self.out / "repository"


@dataclass(frozen=True)
class Case:
    """A network, where it is cut, and the precision on the wire."""

    network: str
    cut: str
    wire: str

    @property
    def name(self) -> str:
        """Name of files of this case."""
        return f"{self.network}-{self.cut}-{self.wire}"


MAIN = Case(CASCADE, "0", "uint8")  # is tuned and measured on every link
EXACT = Case(CASCADE, "0", "fp32")
FEATURES = Case("frozen", "0", "uint8")  # an exit on the published ResNet-20, whose features travel
BREAK_EVEN = (
    Case(SMALL, "input", "uint8"),
    Case(SMALL, "0", "fp32"),
    Case(SMALL, "0", "uint8"),
    Case(LARGE, "input", "uint8"),
    Case(LARGE, "0", "uint8"),
    Case(LARGE, "1", "uint8"),
)
CASES = (EXACT, MAIN, *BREAK_EVEN)
FITTED = (EXACT, MAIN, FEATURES)  # scales and thresholds behind the cut are fitted again on what the server receives


def prepare(settings: Settings) -> None:
    """Train, tune and export what is not there yet."""
    settings.out.mkdir(parents=True, exist_ok=True)
    out, data = settings.out, ("--data", settings.data)
    exits = ("--exits", 1, "--branch", "linear", "--recipe", "frozen", "--augment", "none", "--epochs", 3, "--seed", 0)
    none = ("--exits", 0, "--epochs", 0)
    for name, depth, kind in (("first", 20, none), ("second", 56, none), ("frozen", 20, exits)):
        weights = settings.weights / f"cifar10_resnet{depth}.safetensors"
        given = ("--hold-out", "test", "--normalise", "imagenet", "--weights", weights)
        make(out / f"{name}.pt", "train", f"resnet{depth}", *data, *given, *kind)
    make(out / "joined.pt", "cascade", out / "first.pt", out / "second.pt", *data)
    make(out / f"{CASCADE}-tuned.pt", "tune", out / "joined.pt", *data, "--max-accuracy-drop", 0.5)
    make(out / "frozen-tuned.pt", "tune", out / "frozen.pt", *data, "--max-accuracy-drop", 0.5)
    untrained = ("--exits", 2, "--branch", "linear", "--epochs", 0, "--seed", 0)
    make(out / f"{SMALL}-tuned.pt", "train", SMALL, "--data", few_images(settings, 1), *untrained)
    make(out / f"{LARGE}-tuned.pt", "train", LARGE, "--data", few_images(settings, 7), *untrained)
    for case in (*CASES, FEATURES):
        model = out / f"{case.network}-tuned.pt"
        whole = make(out / f"{case.network}.eebundle", "export", model, "--no-judge-speed")
        cut = ("--offload", case.cut, "--wire", case.wire, "--repository", settings.repository)
        fitted = ("--calibration-data", settings.data) if case in FITTED else ()  # recorded data, but not its folder
        make(bundle_of(settings, case), "export", whole, *cut, *fitted)


def few_images(settings: Settings, enlarged: int) -> str:
    """Return data with few images, for networks of which only times and sizes count; each pixel `enlarged` times."""
    path = settings.out / f"few{enlarged}.npz"
    if not path.exists():
        source = load_source(settings.data)
        images = source.inputs[:_FEW].repeat(enlarged, axis=2).repeat(enlarged, axis=3)
        labels = source.labels[:_FEW]
        last = {"test_images": images[_TRAINING:], "test_labels": labels[_TRAINING:]}
        np.savez(path, images=images[:_TRAINING], labels=labels[:_TRAINING], **last)
    return f"npz:{path}"


def bundle_of(settings: Settings, case: Case) -> Path:
    """Return the path of a case's bundle."""
    return settings.out / f"{case.name}.eebundle"


def make(path: Path, *words: object) -> Path:
    """Run a command that makes `path`, unless it is there."""
    if not path.exists():
        eetool(*words, "-o", path)
    return path


def eetool(*words: object, prefix: Sequence[str] = (), slowdown: float | None = None) -> dict[str, Any]:
    """Run a command of eetool and return its document.

    Args:
        words: behind `eetool`.
        prefix: command that runs the command.
        slowdown: times as long as graphs take; see benchmarks/slow_device.
    """
    return python("-m", "eetool", *words, "--json", prefix=prefix, slowdown=slowdown)


def python(*words: object, prefix: Sequence[str] = (), slowdown: float | None = None) -> dict[str, Any]:
    """Run this Python with `words`, and return the JSON document that it prints; see `eetool`."""
    command = [*prefix, sys.executable, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment(slowdown), cwd=ROOT)
    if done.returncode not in (0, _UNSTABLE):
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}: {done.stdout[-2000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def environment(slowdown: float | None) -> Mapping[str, str]:
    """Return the variables of a command; with a slowdown, graphs are slower in all of its processes."""
    paths = [str(ROOT), str(ROOT / "runtimes/python"), str(ROOT / "runtimes/measure")]
    if slowdown is None:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    paths.insert(0, str(ROOT / "benchmarks/slow_device"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "EETOOL_SLOWDOWN": str(slowdown)}


def examples_of(settings: Settings, case: Case, limit: int | None) -> tuple[dict[str, Any], Any]:
    """Return inputs by name, (N, ...), and labels of the test images, or of the first `limit`."""
    manifest = open_bundle(bundle_of(settings, case)).manifest
    source = load_source(settings.data)
    indices = recorded_split(source, TEST, manifest.data)[:limit]
    return calibration_inputs(take_examples(source, indices), manifest.inputs), source.labels[indices]


def kept(path: Path, compute: Any) -> Any:
    """Return the JSON in `path`, computed and written where it is absent; says on stderr how long that took."""
    if not path.exists():
        begun = time.monotonic()
        text = json.dumps(compute(), indent=1)
        print(f"{path.parent.name}/{path.name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))
