"""Labelled images for the tiny bundle, a bundle with two variants, and small static networks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from eetool.data.source import Source
from tests.helpers.tiny_bundle import LABELS, pixels, write_tiny_bundle
from tests.helpers.tiny_graphs import CLASSES

WriteNet = Callable[..., Path]
WriteTwins = Callable[..., Path]


@pytest.fixture
def source() -> Source:
    """Return every class at every contrast, 64 images; some labels are wrong, so that no model is always right."""
    pairs = [(label, contrast) for contrast in np.linspace(0.25, 4, 16) for label in range(CLASSES)]
    images = np.stack([pixels(label, contrast)[None] for label, contrast in pairs])
    labels = np.array([label for label, _ in pairs], np.int64)
    labels[::9] = 0
    return Source("tiny", images, labels, LABELS, mirror=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def write_twins(tmp_path: Path) -> WriteTwins:
    """Write a bundle with the variant onnx/fp32 and copies of it, whose entries in the manifest `edit` may change.

    Each copy has its own graph files. Those in the format tflite have that suffix, and no engine can load them.
    """

    def own(text: str, name: str) -> str:
        kind = name.split("/")[0]
        return text.replace("/onnx-fp32/model.onnx", f"/{name.replace('/', '-')}/model.{kind}")

    def write(*names: str, edit: Callable[[dict[str, Any]], object] = lambda variant: None) -> Path:
        def add(document: dict[str, Any]) -> None:
            graphs = [path for path in document["files"] if own(path, "a/b") != path]
            for name in names:
                document["variants"][name] = twin = json.loads(own(json.dumps(document["variants"]["onnx/fp32"]), name))
                edit(twin)
                document["files"].update({own(path, name): document["files"][path] for path in graphs})

        root = write_tiny_bundle(tmp_path, name="twins", edit=add)
        for path in list(root.rglob("onnx-fp32/model.onnx")):
            for name in names:
                copy = Path(own(str(path), name))
                copy.parent.mkdir()
                shutil.copy(path, copy)
        return root

    return write


@pytest.fixture
def write_net(tmp_path: Path) -> WriteNet:
    """Write an ONNX file whose logits are the image's row means, between other outputs."""

    def write(
        name: str = "net.onnx", shape: str = "batch, 1, 4, 4", dtype: str = "float", more: str = "", classes: int = 4
    ) -> Path:
        weight = ", ".join(str(v) for v in np.eye(4, classes).ravel())
        cast = "x = Cast <to = 1> (image)" if dtype != "float" else "x = Identity (image)"
        text = f"""<ir_version: 8, opset_import: ["" : 18]>
        net ({dtype}[{shape}] image{more}) => (float[batch, c] features, float[batch, k] logits) {{
            {cast}
            axes = Constant <value = int64[2] {{1, 3}}> ()
            rows = ReduceMean <keepdims = 0> (x, axes)
            weight = Constant <value = float[4,{classes}] {{{weight}}}> ()
            features = Neg (rows)
            logits = MatMul (rows, weight)
        }}"""
        path = tmp_path / name
        path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
        return path

    return write
