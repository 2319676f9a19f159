"""Decisions of the C++ source of a cascade, compiled for this machine with TensorFlow Lite Micro itself.

    python benchmarks/mcu_device_code.py BUNDLE --data SOURCE --tflm-library libtflm.a --include DIR [--include DIR ...]

The library is a static one of TFLM's C++ sources, compiled with -fPIC; the folders hold its headers and those of
flatbuffers, gemmlowp and ruy. The source is written, compiled with g++ and called for the inputs at every operating
point; `tflite_micro` answers the same inputs through the runtime. Prints one JSON document.
"""

import argparse
import ctypes
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
from eetool.microcontroller.source_files import write_source
from eetool.records import sha256_file
from eetool_runtime import open_bundle
from eetool_runtime.loading import load_to_judge
from eetool_runtime.tflite_signature import Quantization

FLAGS = (
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-DTF_LITE_STATIC_MEMORY",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-Wall",
    "-Wextra",
    "-Werror",
)


class Result(ctypes.Structure):
    """The result of a run in C."""

    _fields_ = (("class_index", ctypes.c_int), ("exit_index", ctypes.c_int), ("confidence", ctypes.c_float))


def main() -> None:
    """Compile, compare, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, metavar="SOURCE")
    parser.add_argument("--tflm-library", type=Path, required=True)
    parser.add_argument("--include", action="append", required=True, metavar="DIR")
    parser.add_argument("--inputs", type=int, default=1000, help="of all splits, evenly spaced")
    settings = parser.parse_args()
    bundle = open_bundle(settings.bundle)
    cascade = read_cascade(bundle)
    with TemporaryDirectory() as folder:
        library = build(settings, cascade, Path(folder))
        print(json.dumps(compare(settings, cascade, library), indent=2))


def build(settings: argparse.Namespace, cascade: DeviceCascade, folder: Path) -> Any:
    """Return the compiled source as a shared library."""
    footprint = measure_footprint(cascade)
    sha256 = sha256_file(settings.bundle / "manifest.json")
    write_source(cascade, footprint, sha256, folder / "source", prefix="cascade")
    sources = sorted(str(path) for path in (folder / "source/src").glob("*.cc"))
    includes = [word for path in settings.include for word in ("-isystem", path)]
    output = folder / "cascade.so"
    command = ["g++", *FLAGS, *includes, "-shared", *sources, str(settings.tflm_library), "-o", str(output)]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(output))
    library.cascade_input.restype = ctypes.c_void_p
    status = library.cascade_init()
    if status != 0:
        raise SystemExit(f"cascade_init failed with {status}")
    return library


def compare(settings: argparse.Namespace, cascade: DeviceCascade, library: Any) -> dict[str, Any]:
    """Return how many decisions are the same, by operating point, and the memory that TFLM used."""
    bundle = open_bundle(settings.bundle)
    inputs = spaced_inputs(settings, bundle.manifest.inputs)
    host = predict_exits(load_to_judge(bundle, variant=VARIANT), inputs)
    points = {}
    for number, point in enumerate(cascade.points):
        expected = host.at(point.thresholds[:-1], point.name)
        library.cascade_select(number)
        device = [answer(library, cascade, x) for x in inputs]
        classes, exits = (np.array([getattr(d, f"{name}_index") for d in device]) for name in ("class", "exit"))
        own = host.confidence[exits, np.arange(len(inputs))]
        points[point.name] = {
            "same_class_and_exit": int(((classes == expected.classes) & (exits == expected.exits)).sum()),
            "largest_confidence_difference": float(np.abs([d.confidence for d in device] - own).max()),
            "inputs_by_exit": np.bincount(exits, minlength=cascade.n_exits).tolist(),
        }
    used = {name: ctypes.c_size_t.in_dll(library, f"cascade_{name}_used").value for name in ("working", "persistent")}
    reserved = measure_footprint(cascade)
    return {
        "inputs": len(inputs),
        "points": points,
        "used_bytes": used,
        "reserved_bytes": {"working": reserved.working_bytes, "persistent": reserved.persistent_bytes},
    }


def spaced_inputs(settings: argparse.Namespace, specs: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """Return inputs of all splits, one by one: decisions are compared, not accuracies."""
    source = load_source(settings.data, form=model_form(specs, "the model"))
    count = len(source.labels)
    chosen = np.linspace(0, count - 1, min(settings.inputs, count)).round().astype(int)
    return [inputs_by_name(source.inputs[np.array([i])], specs) for i in chosen]


def answer(library: Any, cascade: DeviceCascade, values: dict[str, np.ndarray]) -> Result:
    """Return the answer of the compiled source to the inputs of one call."""
    for i, port in enumerate(cascade.inputs):
        data = Quantization(port.scale, port.zero_point).quantize(values[port.tensor]).tobytes()
        ctypes.memmove(library.cascade_input(i), data, len(data))
    result = Result()
    status = library.cascade_run(ctypes.byref(result))
    if status != 0:
        raise SystemExit(f"cascade_run failed with {status}")
    return result


if __name__ == "__main__":
    main()
