"""Decisions and arena of the C++ source of a cascade, compiled with TensorFlow Lite Micro itself.

    python benchmarks/mcu_device_code.py BUNDLE --data SOURCE --tflm-library libtflm.a --include DIR [--include DIR ...]
        [--compiler arm-linux-gnueabihf-g++ --emulator "qemu-arm -L /usr/arm-linux-gnueabihf"]

The library is a static one of TFLM's C++ sources with reference kernels, of the same compiler; the folders hold its
headers and those of flatbuffers, gemmlowp and ruy. The source is written, compiled with `mcu_program/main.cc`, and run
on the inputs at every operating point; `tflite_micro` answers the same inputs through the runtime. Both parts of the
arena are then made as small as the source still runs in, and compared with the smallest arena in which TFLM loads and
runs the unsplit network. With a compiler for another machine, an emulator runs the program. Prints one JSON document.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from eetool.bench.predictions import predict_exits
from eetool.data.image_form import model_form
from eetool.data.registry import load_source
from eetool.data.views import inputs_by_name
from eetool.microcontroller.cascade import VARIANT, DeviceCascade, read_cascade
from eetool.microcontroller.footprint import measure_footprint
from eetool.microcontroller.memory_plan import ALIGNMENT, aligned
from eetool.microcontroller.source_files import write_source
from eetool.records import sha256_file
from eetool_runtime import open_bundle
from eetool_runtime.loading import load_to_judge
from eetool_runtime.tflite_signature import Quantization

MAIN = Path(__file__).parent / "mcu_program/main.cc"
FLAGS = ("-std=c++17", "-O2", "-DTF_LITE_STATIC_MEMORY", "-Wall", "-Wextra", "-Werror")
DEVICE_FLAGS = ("-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics")
MEMORY_ERROR = 11  # of the program: CASCADE_ERROR_MEMORY


def main() -> None:
    """Compile, compare, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, metavar="SOURCE")
    parser.add_argument("--tflm-library", type=Path, required=True)
    parser.add_argument("--include", action="append", required=True, metavar="DIR")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--emulator", default="", help="command line in front of the program")
    parser.add_argument("--inputs", type=int, default=1000, help="of all splits, evenly spaced")
    settings = parser.parse_args()
    cascade = read_cascade(open_bundle(settings.bundle))
    with TemporaryDirectory() as folder:
        program = Program(settings, cascade, Path(folder))
        inputs = spaced_inputs(settings, open_bundle(settings.bundle).manifest.inputs)
        print(json.dumps({**compare(settings, cascade, program, inputs), **arenas(settings, program)}, indent=2))


class Program:
    """The source of a cascade and the program that runs it."""

    def __init__(self, settings: argparse.Namespace, cascade: DeviceCascade, folder: Path) -> None:
        self._settings, self._cascade, self._folder = settings, cascade, folder
        self.reserved = measure_footprint(cascade)
        sha256 = sha256_file(settings.bundle / "manifest.json")
        write_source(cascade, self.reserved, sha256, folder / "source", prefix="cascade")
        (folder / "inputs").write_bytes(b"")
        self._compile(self._source("cascade_data.cc"), "data.o", (), DEVICE_FLAGS)
        self._compile(MAIN, "main.o", ())
        self.build()

    def build(self, working_bytes: int | None = None, persistent_bytes: int | None = None) -> None:
        """Compile with other sizes of the arena's parts."""
        sizes = {"WORKING": working_bytes, "PERSISTENT": persistent_bytes}
        defined = [f"-DCASCADE_{part}_BYTES={size}" for part, size in sizes.items() if size is not None]
        self._compile(self._source("cascade.cc"), "cascade.o", defined, DEVICE_FLAGS)
        objects = [str(self._folder / name) for name in ("main.o", "cascade.o", "data.o")]
        run(self._settings.compiler, *objects, str(self._settings.tflm_library), "-o", str(self._folder / "program"))

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the program."""
        command = [*self._settings.emulator.split(), str(self._folder / "program"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def run_cascade(self, inputs: Sequence[dict[str, np.ndarray]] = ()) -> "subprocess.CompletedProcess[str]":
        """Run the cascade on inputs at every operating point."""
        ports = self._cascade.inputs
        tensors = (Quantization(p.scale, p.zero_point).quantize(values[p.tensor]) for values in inputs for p in ports)
        path = self._folder / "inputs"
        path.write_bytes(b"".join(tensor.tobytes() for tensor in tensors))
        return self.call("cascade", str(path), *(str(port.size_bytes) for port in ports))

    def _source(self, name: str) -> Path:
        return self._folder / "source/src" / name

    def _compile(self, source: Path, target: str, defined: Sequence[str], flags: Sequence[str] = ()) -> None:
        includes = [word for path in self._settings.include for word in ("-isystem", path)]
        includes += ["-I", str(self._folder / "source/src")]
        run(
            self._settings.compiler,
            *FLAGS,
            *flags,
            *defined,
            *includes,
            "-c",
            str(source),
            "-o",
            str(self._folder / target),
        )


def compare(
    settings: argparse.Namespace, cascade: DeviceCascade, program: Program, inputs: Sequence[dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Return how many decisions are the same, by operating point, and the memory that TFLM used."""
    host = predict_exits(load_to_judge(open_bundle(settings.bundle), variant=VARIANT), inputs)
    done = program.run_cascade(inputs)
    done.check_returncode()
    memory, *lines = (line.split()[1:] for line in done.stdout.splitlines())
    answers = np.array(lines, np.float64).reshape(len(cascade.points), len(inputs), 4)
    points = {}
    for point, own in zip(cascade.points, answers, strict=True):
        expected = host.at(point.thresholds[:-1], point.name)
        classes, exits, confidence = own[:, 1].astype(int), own[:, 2].astype(int), own[:, 3]
        theirs = host.confidence[exits, np.arange(len(inputs))]
        points[point.name] = {
            "same_class_and_exit": int(((classes == expected.classes) & (exits == expected.exits)).sum()),
            "largest_confidence_difference": float(np.abs(confidence - theirs).max()),
            "inputs_by_exit": np.bincount(exits, minlength=cascade.n_exits).tolist(),
        }
    names = ("pointer", "interpreters", "working", "persistent")
    reserved = {"working": program.reserved.working_bytes, "persistent": program.reserved.persistent_bytes}
    used = dict(zip(names, map(int, memory), strict=True))
    return {"inputs": len(inputs), "points": points, "used_bytes": used, "reserved_bytes": reserved}


def arenas(settings: argparse.Namespace, program: Program) -> dict[str, Any]:
    """Return the smallest arenas of the cascade and of the unsplit network that load and run."""
    bundle = open_bundle(settings.bundle)
    working, persistent = smallest_parts(program)
    unsplit = program.call("graph", str(bundle.file(bundle.variant(VARIANT).references["unsplit"])))
    unsplit.check_returncode()
    alone = int(unsplit.stdout.split()[1])
    parts = {"working": working, "persistent": persistent}
    return {
        "smallest_arena_bytes": {"cascade": working + persistent, **parts, "unsplit": alone},
        "ratio": round((working + persistent) / alone, 3),
    }


def smallest_parts(program: Program) -> tuple[int, int]:
    """Return the smallest sizes of both parts of the arena with which the cascade starts."""
    used = [int(word) for word in program.run_cascade().stdout.split()[3:5]]
    least_working, persistent = map(aligned, used)
    while not starts(program, program.reserved.working_bytes, persistent):
        persistent += ALIGNMENT
    if starts(program, least_working, persistent):
        return least_working, persistent
    too_small, enough = least_working, program.reserved.working_bytes
    while enough - too_small > ALIGNMENT:
        middle = aligned((too_small + enough) // 2)
        middle = middle if middle < enough else enough - ALIGNMENT
        if starts(program, middle, persistent):
            enough = middle
        else:
            too_small = middle
    return enough, persistent


def starts(program: Program, working_bytes: int, persistent_bytes: int) -> bool:
    """Return whether the cascade starts in an arena of these parts; raises SystemExit for another error."""
    program.build(working_bytes, persistent_bytes)
    code = program.run_cascade().returncode
    if code not in (0, MEMORY_ERROR):
        raise SystemExit(f"the program failed with {code}")
    return code == 0


def spaced_inputs(settings: argparse.Namespace, specs: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """Return inputs of all splits, one by one: decisions are compared, not accuracies."""
    source = load_source(settings.data, form=model_form(specs, "the model"))
    count = len(source.labels)
    chosen = np.linspace(0, count - 1, min(settings.inputs, count)).round().astype(int)
    return [inputs_by_name(source.inputs[np.array([i])], specs) for i in chosen]


def run(*command: str) -> None:
    """Run a command; raises SystemExit with its errors where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    main()
