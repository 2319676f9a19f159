"""Accuracy of cascades for microcontrollers: fp32, int8 in LiteRT, and int8 in every tensor in tflite_micro.

    python benchmarks/mcu.py --out DIR [--speech FILE] [--cifar DIR] [--part NAME ...]

Three small networks: handwritten digits (resnet8), spoken digits (TC-ResNet8 on log-mel features, --speech)
and photographs (resnet8 on some images of CIFAR-10, --cifar: the folder of the archive). Each is trained, tuned and
exported once, into DIR; a part that is there is not made again. The bundle of all variants has separate exits, as
other devices run them; every variant answers the same test inputs, and so does a second bundle for microcontrollers
alone, whose exits are joined with their segments, as is the default there. Prints one JSON document, also written to
DIR/results.json. It has no times: those of tflite_micro here are not a device's.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eetool.api.exported_bundle import ExportOrder, export_model
from eetool.bench.predictions import ExitPredictions, predict_exits
from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.data.splits import TEST, split_source
from eetool.data.views import inputs_by_name
from eetool.export.litert_difference import compare_with_litert
from eetool.graphs.tflite_graph import read_tflite
from eetool.model.checkpoint import load_checkpoint
from eetool.progress import SILENT
from eetool_runtime import Bundle, open_bundle
from eetool_runtime.backends import backend_for, open_graph
from eetool_runtime.loading import load_to_judge

HERE = Path(__file__).parent
FLOAT, LITERT, MICRO = VARIANTS = ("onnx/fp32", "tflite/int8", "tflm/int8")
TESTED = 1000  # inputs at most
CIFAR_TRAINING, CIFAR_TEST = 12_000, 1_000


@dataclass(frozen=True)
class Part:
    """A network and its data; `data` is relative to the folder of the part."""

    backbone: str
    data: str
    options: tuple[str, ...]


PARTS = {
    "digits": Part("resnet8", "digits", ("--exits", "2", "--branch", "linear", "--epochs", "12")),
    "spoken_digits": Part("tcresnet8", "npz:speech.npz", ("--exits", "2", "--branch", "linear", "--epochs", "20")),
    "cifar10": Part("resnet8", "npz:cifar.npz", ("--exits", "2", "--branch", "linear", "--epochs", "10")),
}


def main() -> None:
    """Run the parts that have data, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speech", type=Path, default=None)
    parser.add_argument("--cifar", type=Path, default=None, help="folder of data_batch_1.bin … and test_batch.bin")
    parser.add_argument("--part", action="append", choices=tuple(PARTS), default=None)
    settings = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = settings.part or list(PARTS)
    given = {"digits": settings.out, "spoken_digits": settings.speech, "cifar10": settings.cifar}
    document: dict[str, Any] = {"engines": {f: _engine(f) for f in ("onnx", "tflite", "tflm")}}
    for name in chosen:
        if given[name] is not None:
            document[name] = run_part(name, settings.out / name, given[name])
    text = json.dumps(document, indent=2)
    (settings.out / "results.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def run_part(name: str, folder: Path, raw: Path) -> dict[str, Any]:
    """Return the figures of one part, from its file where they are there."""
    part = PARTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    if name == "spoken_digits":
        save_speech(raw, folder / "speech.npz")
    elif name == "cifar10":
        save_cifar(raw, folder / "cifar.npz")
    source = load_source(_absolute(part.data, folder))
    figures = _kept(folder / "figures.json", lambda: measure(make_bundle(folder, part), source))
    return {**figures, "joined": _kept(folder / "joined.json", lambda: measure(make_joined(folder, part), source))}


def make_bundle(folder: Path, part: Part) -> Bundle:
    """Train, tune and export, as far as that was not done."""
    model, tuned, bundle = folder / "model.pt", folder / "tuned.pt", folder / "model.eebundle"
    if not model.exists():
        _eetool(folder, "train", part.backbone, "--data", part.data, *part.options, "--threads", "1", "-o", model.name)
    if not tuned.exists():
        _eetool(folder, "tune", model.name, "--data", part.data, "-o", tuned.name)
    if not bundle.exists():
        data = load_source(_absolute(part.data, folder))
        data = replace(data, name=part.data)  # as the model records it
        order = ExportOrder(
            load_checkpoint(tuned), bundle, VARIANTS, "none", data, False, None, True, True, None, force=False
        )
        export_model(order, SILENT)
    return open_bundle(bundle)


def make_joined(folder: Path, part: Part) -> Bundle:
    """Export the tuned model once more, for microcontrollers alone: there, exits are joined with their segments."""
    bundle = folder / "joined.eebundle"
    if not bundle.exists():
        options = ("--target", "mcu", "--calibration-data", part.data)
        _eetool(folder, "export", "tuned.pt", *options, "-o", bundle.name)
    return open_bundle(bundle)


def measure(bundle: Bundle, source: Source) -> dict[str, Any]:
    """Return accuracies, exit shares and sizes of every variant on the test split."""
    manifest = bundle.manifest
    indices = split_source(source)[TEST][:TESTED]
    labels = source.labels[indices]
    inputs = [inputs_by_name(source.inputs[np.array([i])], manifest.inputs) for i in indices]
    answers = {name: predict_exits(load_to_judge(bundle, variant=name), inputs) for name in manifest.variants}
    micro = answers[MICRO]
    return {
        "n": len(labels),
        "components": component_figures(bundle),
        "variants": {name: variant_figures(bundle, name, answers[name], labels, micro) for name in manifest.variants},
    }


def variant_figures(
    bundle: Bundle, name: str, answers: ExitPredictions, labels: np.ndarray, micro: ExitPredictions
) -> dict[str, Any]:
    """Return figures of one variant: of every exit alone, and of every operating point fitted on it."""
    points = {}
    for point, settings in bundle.variant(name).operating_points.items():
        way = answers.at(settings.thresholds, point)
        assert way.exits is not None
        shares = np.bincount(way.exits, minlength=len(answers.classes)) / len(labels)
        points[point] = {"accuracy": float((way.classes == labels).mean()), "exit_shares": shares.tolist()}
    files = {graph.path for graph in bundle.variant(name).components.values()}
    return {
        "bytes": bundle.size_bytes(files),
        "exit_accuracies": (answers.classes == labels).mean(1).tolist(),
        "same_class_as_tflite_micro": (answers.classes == micro.classes).mean(1).tolist(),
        "operating_points": points,
    }


def component_figures(bundle: Bundle) -> list[dict[str, Any]]:
    """Return size and operators of each component for microcontrollers, and its distance from LiteRT on the samples."""
    samples = bundle.arrays(bundle.manifest.samples)
    count = len(next(iter(samples.values())))
    cases = [{name: array[i : i + 1] for name, array in samples.items()} for i in range(count)]
    figures = []
    for component in bundle.manifest.components:
        stored = bundle.variant(MICRO).components[component.name]
        path = bundle.file(stored.path)
        graph = open_graph(path)
        difference = compare_with_litert(path, tuple(graph.inputs), cases)
        for case in cases:
            case.update(zip(graph.outputs, graph.run({name: case[name] for name in graph.inputs}), strict=True))
        figures.append(
            {
                "name": component.name,
                "bytes": path.stat().st_size,
                "max_abs_error": stored.max_abs_error,
                "operators": sorted({o.op for o in read_tflite(path).operations}),
                "difference_from_litert": vars(difference),
            }
        )
    return figures


def save_speech(path: Path, target: Path) -> None:
    """Write spoken digits as an `npz:` source, with the official test set: the first recordings of every speaker."""
    with np.load(path, allow_pickle=False) as archive:
        low, step = archive["scale"].tolist()
        features = (archive["logmel_u8"].astype(np.float32) * step + low).astype(np.float32)
        labels, test = archive["label"].astype(np.int64), archive["is_test"].astype(bool)
    arrays = {"features": features[~test], "labels": labels[~test]}
    _save(target, {**arrays, "test_features": features[test], "test_labels": labels[test]})


def save_cifar(folder: Path, target: Path) -> None:
    """Write the first images of CIFAR-10 as an `npz:` source."""
    source = load_source(f"cifar10:{folder}")
    at = source.training_count
    rows, tested = np.arange(CIFAR_TRAINING), np.arange(at, at + CIFAR_TEST)
    arrays = {"images": source.inputs[rows], "labels": source.labels[rows]}
    _save(target, {**arrays, "test_images": source.inputs[tested], "test_labels": source.labels[tested]})


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return figures from their file, which is written where it is not there."""
    if not path.exists():
        path.write_text(json.dumps(make(), indent=2) + "\n", encoding="utf-8")
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if not path.exists():
        partial = path.with_name(f"{path.stem}.partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)


def _absolute(data: str, folder: Path) -> str:
    kind, colon, name = data.partition(":")
    return f"{kind}:{folder / name}" if colon else data


def _engine(graph_format: str) -> str:
    backend = backend_for(graph_format)
    return f"{backend.name} {backend.version}"


def _eetool(folder: Path, *arguments: str) -> None:
    """Run a command of eetool in `folder`; its lines go to stderr."""
    root = HERE.parent
    places = os.pathsep.join(str(root / part) for part in ("", "runtimes/python", "runtimes/measure"))
    environment = {**os.environ, "PYTHONPATH": places}
    command = [sys.executable, "-m", "eetool", *arguments]
    done = subprocess.run(command, cwd=folder, check=False, stdout=sys.stderr, env=environment)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    main()
