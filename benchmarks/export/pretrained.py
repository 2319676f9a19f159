"""Parity of bundles with a pretrained network, and the accuracy drop of int8.

    python benchmarks/export/pretrained.py --weights cifar10_resnet56.safetensors --data cifar10:DIR [--images N]

DIR holds CIFAR-10 in its binary layout (`cifar-10-batches-bin`, or the folder above it). The early exits are
untrained: only the final exit is evaluated. Prints one JSON document.
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.variants import VARIANTS
from eetool.model.backbones.registry import build_backbone
from eetool.model.checkpoint import Checkpoint, build_net
from eetool.model.macs import count_macs
from eetool.model.references.example_inputs import example_inputs
from eetool.model.spec import CheckpointRecord, ModelSpec, TrainingSettings
from eetool.model.taps import measure_taps, place_exits
from eetool.targets import is_untimed
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.manifest import Input, Preprocess, Variant
from eetool_runtime.preprocess import normalise

INPUT = Input(
    "input", "float32", ("batch", 3, 32, 32), Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXITS, CALIBRATION, SAMPLES, BATCH = 3, 256, 16, 100
LARGE_BYTES = 50_000  # sizes of int8 are compared for components larger than this in float


def main() -> None:
    """Export, classify the test images with every variant, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True, help="cifar10:DIR")
    parser.add_argument("--images", type=int, default=5000, help="number of test images")
    parser.add_argument(
        "--variants", nargs="+", default=[name for name in VARIANTS if not is_untimed(name)], choices=list(VARIANTS)
    )
    parser.add_argument("--judge-speed", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--reference", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    folder = Path(options.data.removeprefix("cifar10:"))
    images, labels = read_cifar(folder, "test_batch.bin", options.images)
    calibration, _ = read_cifar(folder, "data_batch_1.bin", CALIBRATION)
    checkpoint = pretrained(options.weights, images[:SAMPLES])
    logits = torch_logits(checkpoint, images)
    variants: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for graph_format in dict.fromkeys(name.split("/")[0] for name in options.variants):
            names = tuple(name for name in options.variants if name.startswith(f"{graph_format}/"))
            path = Path(scratch, graph_format)
            export = ExportOptions(
                names,
                options.reference,
                calibration={"input": calibration},
                judge_speed=options.judge_speed,
                share_files=False,  # sizes are per component
            )
            start, busy = time.perf_counter(), time.process_time()
            export_bundle(checkpoint, path, export)
            took = {
                "export_of": names,
                "export_seconds": round(time.perf_counter() - start, 2),
                "export_cpu_seconds": round(time.process_time() - busy, 2),  # the better figure on a busy machine
            }
            for name in names:
                variants[name] = {**took, **parity_figures(open_bundle(path), name, images, labels, logits)}
    document = {
        "images": len(images),
        "calibration_images": len(calibration),
        "int8_only_where_faster": options.judge_speed,
        "references": options.reference,
        "torch_top1": top1(logits, labels),
        "variants": variants,
    }
    print(json.dumps(document, indent=2))


def read_cifar(folder: Path, file: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the first images of a file as model inputs (n, 3, 32, 32), and their labels (n,)."""
    inner = folder / "cifar-10-batches-bin"
    records = np.fromfile((inner if inner.is_dir() else folder) / file, np.uint8, count * 3073).reshape(-1, 3073)
    return normalise(records[:, 1:].reshape(-1, 3, 32, 32), INPUT), records[:, 0].astype(np.int64)


def pretrained(weights: Path, samples: np.ndarray) -> Checkpoint:
    """Build the network named in the file name of the weights, with untrained exits."""
    match = re.search(r"resnet\d+", weights.name)
    assert match, "the file name of the weights contains the network name, such as cifar10_resnet56"
    backbone = build_backbone(match[0], INPUT.shape, len(LABELS)).eval()
    example = example_inputs((INPUT,))
    taps = place_exits(measure_taps(backbone, example), count_macs(backbone, example), EXITS)
    torch.manual_seed(0)
    spec = ModelSpec(match[0], (INPUT,), LABELS, taps, ("linear",) * EXITS)
    net = build_net(spec)
    net.backbone.load_state_dict(load_file(weights))
    record = CheckpointRecord(spec, TrainingSettings("frozen", 0, 0, 1, 0.1))
    return Checkpoint(record, net.state_dict(), {"input": torch.from_numpy(samples)})


def torch_logits(checkpoint: Checkpoint, images: np.ndarray) -> np.ndarray:
    """Return the logits of the backbone, float32 (n, classes)."""
    backbone = checkpoint.build().backbone
    with torch.no_grad():
        parts = [backbone(torch.from_numpy(images[i : i + BATCH])).numpy() for i in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the top-1 accuracy in percent."""
    return 100 * float((logits.argmax(1) == labels).mean())


def parity_figures(
    bundle: Bundle, name: str, images: np.ndarray, labels: np.ndarray, reference: np.ndarray
) -> dict[str, Any]:
    """Compare the final exit of a bundle with the logits of the network on `images`."""
    model = load(bundle, variant=name)
    parts = [model.every_exit(images[i : i + BATCH])[-1][0] for i in range(0, len(images), BATCH)]
    logits = np.concatenate(parts)
    return {
        "top1": top1(logits, labels),
        "top1_drop_points": top1(reference, labels) - top1(logits, labels),
        "agreement_with_torch": float((logits.argmax(1) == reference.argmax(1)).mean()),
        "max_abs_error": float(np.abs(logits - reference).max()),
        "max_abs_logit": float(np.abs(reference).max()),
        **sizes(bundle, bundle.manifest.variants[name]),
    }


def sizes(bundle: Bundle, variant: Variant) -> dict[str, Any]:
    """Return the bytes of the components, and the size of their weights in float32."""
    files = bundle.manifest.files
    size = {c: files[graph.path].size_bytes for c, graph in variant.components.items()}
    return {
        "component_bytes": size,
        "precision": {c: graph.precision for c, graph in variant.components.items()},
        "total_bytes": sum(size.values()),
        "float_weight_bytes": 4 * sum(c.parameters for c in bundle.manifest.components),
    }


if __name__ == "__main__":
    main()
