"""A small bundle for microcontrollers, of the graphs in `tflm_graphs/`: two exits behind one layer."""

from __future__ import annotations

import hashlib
import importlib.util
from io import BytesIO
from pathlib import Path

import numpy as np

from eetool_measure.records import encode
from eetool_runtime.manifest import (
    SCHEMA_VERSION,
    Component,
    Exit,
    File,
    GraphFile,
    Input,
    Manifest,
    OperatingPoint,
    Tensor,
    Variant,
)
from tests.helpers.tiny_bundle import write_manifest

TFLM_GRAPHS = Path(__file__).parent / "tflm_graphs"  # made by make_tflm_graphs.py
HAS_TFLM = importlib.util.find_spec("tflite_micro") is not None
WITHOUT_TFLM = "tflite-micro is not installed"
VARIANT = "tflm/int8"
TEMPERATURES = (0.5, 2.0)
THRESHOLD = 0.75
SEGMENT_WEIGHTS = np.array([[1, 0.5, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0.5], [0.5, 0, 0, 1]], np.float32)
HEAD_WEIGHTS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
TAIL_WEIGHTS = np.array([[3, -1, 0, 0], [-1, 3, -1, 0], [0, -1, 3, -1]], np.float32)
SAMPLES = np.array([[0.9, 0.1, -0.5, 0.2], [0.1, 0.1, 0.1, 0.1], [-0.9, 0.2, 0.8, 0.5]], np.float32)


def float_answers(x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tensors of the float network for inputs (n, 4)."""
    features = np.maximum(x @ SEGMENT_WEIGHTS.T, 0)
    logits = {f"exit{i}_logits": features @ w.T for i, w in enumerate((HEAD_WEIGHTS, TAIL_WEIGHTS))}
    return {"segment0_out": features, **logits}


def write_tflm_bundle(folder: Path, score: str = "max_softmax", **files: bytes) -> Path:
    """Write `folder/micro.eebundle` and return its path; `files` replace the graphs of components."""
    root = folder / "micro.eebundle"
    graphs = {name: files.get(name, (TFLM_GRAPHS / f"{name}.tflm").read_bytes()) for name in _COMPONENTS}
    contents = {f"components/{name}/tflm-int8/model.tflm": data for name, data in graphs.items()}
    answers = float_answers(SAMPLES)
    logits = {name: answers[name] for name in ("exit0_logits", "exit1_logits")}
    contents["samples/inputs.npz"] = _npz({"x": SAMPLES})
    contents["samples/tflm-int8.npz"] = _npz({**logits, "exit_full": np.ones(len(SAMPLES), np.int64)})
    manifest = _manifest(contents, score)
    for path, data in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    write_manifest(root, encode(manifest))
    return root


_COMPONENTS = {
    "segment0": Component("segment0", "segment", ("x",), ("segment0_out",), 16, 16),
    **{
        f"exit{i}": Component(
            f"exit{i}",
            "exit",
            ("segment0_out", f"exit{i}_temperature"),
            (f"exit{i}_logits", f"exit{i}_confidence"),
            12,
            12,
        )
        for i in range(2)
    },
}


def _manifest(contents: dict[str, bytes], score: str) -> Manifest:
    variant = Variant(
        components={
            name: GraphFile(f"components/{name}/tflm-int8/model.tflm", "int8", 0.1, None) for name in _COMPONENTS
        },
        temperatures=TEMPERATURES,
        operating_points={"full": OperatingPoint((None,)), "fast": OperatingPoint((THRESHOLD,))},
        samples="samples/tflm-int8.npz",
        samples_tolerance=0.1,
        batch=1,
        tensors={"segment0_out": Tensor("int8", ("batch", 4))},
    )
    tensors = {"segment0_out": Tensor("float32", ("batch", 4))}
    for i in range(2):
        tensors[f"exit{i}_logits"] = Tensor("float32", ("batch", 3))
        tensors[f"exit{i}_confidence"] = Tensor("float32", ("batch",))
    exits = [
        Exit("layer" if i == 0 else None, f"exit{i}", f"exit{i}_logits", f"exit{i}_confidence", f"exit{i}_temperature")
        for i in range(2)
    ]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name="micro",
        inputs=(Input("x", "float32", ("batch", 4)),),
        labels=("a", "b", "c"),
        tensors=tensors,
        exits=tuple(exits),
        components=tuple(_COMPONENTS.values()),
        variants={VARIANT: variant},
        score=score,
        default_operating_point="full",
        samples="samples/inputs.npz",
        producer={"eetool": "0.1.0"},
        files={path: File(hashlib.sha256(data).hexdigest(), len(data)) for path, data in sorted(contents.items())},
    )


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
