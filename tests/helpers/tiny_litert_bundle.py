"""A small LiteRT bundle of the graphs in `litert_graphs/`: one exit, and two operating points that differ in name."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np

from eetool_measure.records import encode
from eetool_runtime.manifest import (
    NEWEST_VERSION,
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
from tests.helpers.backend_contract import FEED, GOLDEN, X
from tests.helpers.tiny_bundle import write_manifest

INPUTS = {"x": X, "ids": FEED["ids"]}
_VARIANT = "tflite/fp32"
_TEMPERATURE = 2.0


def write_litert_bundle(folder: Path, shared: bool = False) -> Path:
    """Write `folder/litert.eebundle` and return its path; `shared` puts both components into one file."""
    root = folder / "litert.eebundle"
    components = (
        Component("contract", "segment", ("x", "ids", "factor"), ("scaled", "total"), 3, 0),
        Component("answer", "exit", ("scaled", "total", "factor"), ("logits", "confidence"), 3, 0),
    )
    graphs = {c.name: f"components/{c.name}/tflite-fp32/model.tflite" for c in components}
    files = {graphs[name]: (GOLDEN / f"{name}.tflite").read_bytes() for name in graphs}
    if shared:
        graphs = dict.fromkeys(graphs, "components/tflite-fp32/model.tflites")
        files = {path: (GOLDEN / "contract_and_answer.tflite").read_bytes() for path in graphs.values()}
    logits = np.maximum(X * _TEMPERATURE - FEED["ids"].sum() + _TEMPERATURE, 0)
    files["samples/inputs.npz"] = _npz(INPUTS)
    files["samples/tflite-fp32.npz"] = _npz({"exit0_logits": logits, **{f"exit_{p}": np.zeros(1, int) for p in "ab"}})
    variant = Variant(
        components={name: GraphFile(path, "fp32", 0.0, 1e-4) for name, path in graphs.items()},
        temperatures=(_TEMPERATURE,),
        operating_points={"full": OperatingPoint(()), "fast": OperatingPoint(())},
        samples="samples/tflite-fp32.npz",
        samples_tolerance=1e-4,
        batch=1,
    )
    manifest = Manifest(
        schema_version=NEWEST_VERSION if shared else SCHEMA_VERSION,
        name="litert",
        inputs=(Input("x", "float32", ("batch", 3)), Input("ids", "int64", ("batch", 2))),
        labels=("a", "b", "c"),
        tensors={
            "scaled": Tensor("float32", ("batch", 3)),
            "total": Tensor("float32", ("batch",)),
            "logits": Tensor("float32", ("batch", 3)),
            "confidence": Tensor("float32", ("batch",)),
        },
        exits=(Exit(None, "answer", "logits", "confidence", "factor"),),
        components=components,
        variants={_VARIANT: variant},
        score="max_softmax",
        default_operating_point="full",
        samples="samples/inputs.npz",
        producer={"eetool": "0.1.0"},
        files={path: File(hashlib.sha256(data).hexdigest(), len(data)) for path, data in sorted(files.items())},
    )
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    write_manifest(root, encode(manifest))
    return root


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
