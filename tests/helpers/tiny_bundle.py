"""A small bundle with every part of the format, from a few lines of ONNX text and numpy.

The input is a 4 × 4 image; its class is the brightest row. Each segment doubles the features, so an image of contrast c
(one row of value c, zeros elsewhere) has the logit 2**(k + 1) * c at exit k. Contrast therefore decides at which exit
an image leaves. The first exit cannot detect the last class: it predicts class 0 there, with uniform confidence. All
numbers are sums of powers of two, so expected logits are exact on every machine.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from eetool_measure.records import encode
from eetool_runtime.manifest import (
    SCHEMA_VERSION,
    Certificate,
    Component,
    Data,
    Exit,
    Expected,
    File,
    GraphFile,
    Input,
    Manifest,
    OperatingPoint,
    Preprocess,
    ReachedConfidence,
    Split,
    Variant,
)
from tests.helpers.tiny_graphs import CLASSES, join, make_parts, make_references, sight_of, tensor_types

LABELS = ("top", "upper", "lower", "bottom")
VARIANT = "onnx/fp32"
POINTS: dict[str, float | None] = {"full": None, "balanced": 0.8, "fast": 0.6}
CONTRASTS = (0.25, 0.5, 1.0, 2.0)
_PREPROCESS = Preprocess(scale=1 / 64, mean=(0.5,), std=(0.5,))


def image(label: int, contrast: float) -> np.ndarray:
    """Return float32 (1, 1, 4, 4): row `label` has the value `contrast`, the rest is 0."""
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, label] = contrast
    return x


def pixels(label: int, contrast: float) -> np.ndarray:
    """Return uint8 (4, 4) pixels that preprocessing converts to `image(label, contrast)`, for contrasts up to 6."""
    raw = np.full((4, 4), 32, np.uint8)
    raw[label] = 32 + round(32 * contrast)
    return raw


IMAGES = [(label, contrast) for label in range(CLASSES) for contrast in CONTRASTS]
X = np.concatenate([image(*pair) for pair in IMAGES])  # float32 (16, 1, 4, 4)


def temperature(index: int) -> float:
    """Return the temperature of exit `index`."""
    return 1 + index / 4


def answers(x: np.ndarray, early_exits: int = 2, *, chained: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logits (N, classes) and confidence (N,) of every exit, computed in numpy."""
    rows = np.maximum(x, 0).mean(axis=(1, 3))  # (N, 1, 4, 4) -> (N, 4)
    outputs: list[tuple[np.ndarray, np.ndarray]] = []
    for k in range(early_exits + 1):
        logits = rows * np.float32(2 ** (k + 1)) * sight_of(k, early_exits)
        if chained and k > 0:
            logits = logits + outputs[-1][0]
        powers = np.exp((logits - logits.max(1, keepdims=True)) / np.float32(temperature(k)))
        outputs.append((logits, powers.max(1) / powers.sum(1)))
    return outputs


def leaves_at(confidences: list[np.ndarray], threshold: float | None) -> np.ndarray:
    """Return int64 (N,): the exit where each input leaves if all early exits have this threshold."""
    last = len(confidences) - 1
    exits = np.full(len(confidences[0]), last, np.int64)
    if threshold is not None:
        for k in reversed(range(last)):
            exits[confidences[k] >= threshold] = k
    return exits


def write_tiny_bundle(
    folder: Path,
    *,
    name: str = "tiny",
    early_exits: int = 2,
    joined: bool = False,
    chained: bool = False,
    ids: bool = False,
    references: bool = True,
    edit: Callable[[dict[str, Any]], object] | None = None,
    **fields: Any,
) -> Path:
    """Write `folder/NAME.eebundle` and return its path. Same arguments, same bytes.

    Args:
        folder: parent folder, made if absent.
        name: of the model and its directory.
        early_exits: their number, without the final exit.
        joined: each exit is in one graph with its segment.
        chained: each exit adds the logits of the exit before it to its own.
        ids: a second input, `ids` int64 (batch, tokens), whose largest value multiplies the features.
        references: write the graphs under `reference/`.
        edit: changes the JSON of the manifest, as a dict, before it is written.
        fields: fields of `Manifest` to replace.
    """
    root = folder / f"{name}.eebundle"
    parts = make_parts(early_exits, chained, ids)
    files: dict[str, bytes] = {}
    components = []
    for part in join(parts) if joined else parts:
        files[f"components/{part.name}/onnx-fp32/model.onnx"] = part.graph(tensor_types(early_exits))
        components.append(part.component())
    if references:
        for reference, graph in make_references(parts, early_exits).items():
            files[f"reference/{reference}/onnx-fp32/model.onnx"] = graph
    x, labels = _sample_images()
    outputs = answers(x, early_exits, chained=chained)
    files["samples/inputs.npz"] = _npz({"input": x, **({"ids": np.ones((len(x), 3), np.int64)} if ids else {})})
    files["samples/onnx-fp32.npz"] = _npz(_sample_outputs(outputs))
    manifest = replace(_manifest(name, components, early_exits, ids, outputs, labels, files), **fields)
    _write(root, manifest, files, edit)
    return root


def write_bundle_with_other_format(folder: Path, variant: str, last: bool = False) -> Path:
    """Write the tiny bundle with its graphs once more, as a variant of another format, and return its path."""
    suffix = variant.partition("/")[0]

    def add(document: dict[str, Any]) -> None:
        other = copy.deepcopy(document["variants"][VARIANT])
        other["references"] = {}
        for graph in other["components"].values():
            path = graph["path"].replace(".onnx", f".{suffix}")
            document["files"][path] = document["files"][graph["path"]]
            graph["path"] = path
        known = document["variants"]
        document["variants"] = {**known, variant: other} if last else {variant: other, **known}

    root = write_tiny_bundle(folder, edit=add)
    for model in root.rglob("components/**/*.onnx"):
        model.with_suffix(f".{suffix}").write_bytes(model.read_bytes())
    return root


def with_stream(document: Any) -> None:
    """Add policies for streams to a manifest, which is then of version 1.1."""
    exits = len(document["exits"])
    policy = {"epsilon": 0.05, "thresholds": [0.9] * (exits - 1), "agree": True, "check_every": 4}
    policy.update({"skip_distance": None, "gap_s": 2.0})
    expected = {"split": "test", "n": 40, "sequences": 2, "accuracy": 0.9, "exit_shares": [1.0] + [0.0] * (exits - 1)}
    expected.update({"mean_macs": 150.0, "reached": [{"n": 40, "confidence_mean": 0.9, "confidence_std": 0.1}]})
    expected["reached"] += [None] * (exits - 1)
    expected.update({"reaction_mean_s": 0.5, "reaction_p95_s": 1.5, "false_switches_per_minute": 0.25})
    careful = {"policy": {**policy, "epsilon": 0.2}, "expected": None}
    points = {"stream-balanced": {"policy": policy, "expected": expected}, "stream-careful": careful}
    document["schema_version"] = "1.1"
    document["stream"] = {
        "period_s": 0.5,
        "base_rates": [1 / len(document["labels"])] * len(document["labels"]),
        "default_operating_point": "stream-balanced",
        "operating_points": dict.fromkeys(document["variants"], points),
    }


def with_offload(document: Any, after_exit: int | None = 0, wire: str = "fp32") -> None:
    """Let a server compute what lies behind an exit of a manifest, which is then of version 1.1.

    The policy is the one without a server. Features travel as UINT8 in steps of 1/16 from 0, and images as pixels.
    """
    exits = len(document["exits"])
    first = 0 if after_exit is None else after_exit + 1
    tensor = "input" if after_exit is None else f"features{after_exit}"
    dtype = {"fp32": "FP32", "fp16": "FP16", "uint8": "UINT8"}[wire]
    quantised = wire == "uint8" and after_exit is not None
    name = tensor if wire == "fp32" else f"{tensor}_wire"
    sent = {"tensor": tensor, "name": name, "dtype": dtype, "scale": 1 / 16 if quantised else None}
    sent["zero_point"] = 0 if quantised else None
    outputs = [
        {"exit": k, "logits": f"exit{k}_logits", "confidence": f"exit{k}_confidence"} for k in range(first, exits)
    ]
    policies = {}
    for key, variant in document["variants"].items():
        points = {
            name: {
                "thresholds": point["thresholds"],
                "link_up": point["expected"],
                "link_down": point["expected"],
                "offload_share": None if point["expected"] is None else sum(point["expected"]["exit_shares"][first:]),
            }
            for name, point in variant["operating_points"].items()
        }
        scalars = {name: variant[name] for name in ("slopes", "offsets")}
        policies[key] = {"temperatures": variant["temperatures"], "operating_points": points, **scalars}
    document["schema_version"] = "1.1"
    document["offload"] = {
        "after_exit": after_exit,
        "model": f"{document['name']}-0123abcd",
        "wire": wire,
        "inputs": [sent],
        "outputs": outputs,
        "variants": json.loads(json.dumps(policies)),  # a copy: tests damage it
    }


def write_manifest(root: Path, document: Any) -> None:
    """Write `document` as the manifest of the bundle at `root`, in the canonical form."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (root / "manifest.json").write_bytes(text.encode())


def replace_file(root: Path, name: str, data: bytes) -> None:
    """Replace a file of the bundle at `root`, and its size and hash in the manifest."""
    (root / name).write_bytes(data)
    document = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    write_manifest(root, document)


def _sample_images() -> tuple[np.ndarray, np.ndarray]:
    """Return one image for every class and contrast, float32 (16, 1, 4, 4), and the labels (16,)."""
    pairs = [(label, contrast) for contrast in CONTRASTS for label in range(CLASSES)]
    return np.concatenate([image(*pair) for pair in pairs]), np.array([label for label, _ in pairs])


def _sample_outputs(outputs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    arrays = {f"exit{k}_logits": logits for k, (logits, _) in enumerate(outputs)}
    confidences = [confidence for _, confidence in outputs]
    return {**arrays, **{f"exit_{point}": leaves_at(confidences, t) for point, t in POINTS.items()}}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _manifest(
    name: str,
    components: list[Component],
    early_exits: int,
    ids: bool,
    outputs: list[tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    files: dict[str, bytes],
) -> Manifest:
    inputs = [Input("input", "float32", ("batch", 1, 4, 4), None if ids else _PREPROCESS)]
    if ids:
        inputs.append(Input("ids", "int64", ("batch", "tokens")))
    indices = np.arange(len(labels), dtype="<i8")
    produced_by = {name: c.name for c in components for name in c.outputs}
    shapes = tensor_types(early_exits)
    variant = Variant(
        components={
            c.name: GraphFile(f"components/{c.name}/onnx-fp32/model.onnx", "fp32", 0.0, 1e-4) for c in components
        },
        temperatures=tuple(temperature(k) for k in range(early_exits + 1)),
        operating_points={
            point: OperatingPoint(
                (t,) * early_exits,
                _expected(components, outputs, labels, t),
                Certificate("by hand", 0.9, 2.0, 16, 1, 0, 0.08) if point == "balanced" else None,
            )
            for point, t in POINTS.items()
        },
        samples="samples/onnx-fp32.npz",
        samples_tolerance=1e-4,
        references={path.split("/")[1]: path for path in files if path.startswith("reference/")},
    )
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        inputs=tuple(inputs),
        labels=LABELS,
        tensors={n: shapes[n] for n in produced_by},
        exits=tuple(
            Exit(
                f"layer{k}" if k < early_exits else None,
                produced_by[f"exit{k}_logits"],
                f"exit{k}_logits",
                f"exit{k}_confidence",
                f"exit{k}_temperature",
            )
            for k in range(early_exits + 1)
        ),
        components=tuple(components),
        variants={VARIANT: variant},
        score="max_softmax",
        default_operating_point="balanced",
        samples="samples/inputs.npz",
        producer={"eetool": "0.1.0"},
        files={path: File(hashlib.sha256(data).hexdigest(), len(data)) for path, data in sorted(files.items())},
        max_accuracy_drop=0.5,
        data=Data("tiny", {"test": Split(len(labels), hashlib.sha256(indices.tobytes()).hexdigest())}),
    )


def _expected(
    components: list[Component], outputs: list[tuple[np.ndarray, np.ndarray]], labels: np.ndarray, t: float | None
) -> Expected:
    """Return the figures of one operating point on the samples; every exit that runs is charged."""
    exits = leaves_at([confidence for _, confidence in outputs], t)
    chosen = np.stack([logits.argmax(1) for logits, _ in outputs])[exits, np.arange(len(labels))]
    charged = _charged_macs(components, len(outputs), t)
    reached: list[ReachedConfidence | None] = []
    for k, (_, confidence) in enumerate(outputs):
        here = confidence[exits >= k]
        if (t is None and k < len(outputs) - 1) or not len(here):
            reached.append(None)  # the exit does not run, or no input reaches it
        else:
            reached.append(ReachedConfidence(len(here), round(float(here.mean()), 6), round(float(here.std()), 6)))
    return Expected(
        split="test",
        n=len(labels),
        accuracy=float((chosen == labels).mean()),
        exit_shares=tuple(float((exits == k).mean()) for k in range(len(outputs))),
        mean_exit_depth=float(exits.mean()),
        mean_macs=float(np.mean([charged[k] for k in exits])),
        reached=tuple(reached),
    )


def _charged_macs(components: list[Component], n_exits: int, t: float | None) -> list[int]:
    """Return the MACs of all components that run for an input that leaves at each exit."""
    charged, total = [], 0
    read = {n for c in components for n in c.inputs}
    for c in components:
        skipped = t is None and c.kind == "exit" and c is not components[-1] and read.isdisjoint(c.outputs)
        total += 0 if skipped else c.macs
        if any(n.endswith("_logits") for n in c.outputs):
            charged.append(total)
    assert len(charged) == n_exits
    return charged


def _write(root: Path, manifest: Manifest, files: dict[str, bytes], edit: Callable[[Any], object] | None) -> None:
    for path, data in files.items():
        target = root.joinpath(*path.split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    document = encode(manifest)
    if edit is not None:
        edit(document)
    write_manifest(root, document)
