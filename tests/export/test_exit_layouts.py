"""Bundles of networks with features over time, whose exits compute on the device what they compute in torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.graphs.onnx_graph import read_graph
from eetool.latency.kernels.from_onnx import kernels_from_graph, total_macs
from eetool.train.pipeline import ExitPlan, attach_exits
from eetool_runtime import load


@pytest.mark.parametrize(
    ("network", "branch", "variants", "boundary"),
    [
        ("waves", "max2,conv3-8,avg2,sep3-4", ("onnx/fp32", "tflite/fp32"), ("batch", 8, 24)),
        ("time_first", "linear", ("onnx/fp32",), (24, "batch", 8)),
    ],
)
def test_export_bundle_features_over_time_keep_their_logits(
    network: str, branch: str, variants: tuple[str, ...], boundary: tuple[object, ...], tmp_path: Path
) -> None:
    if "tflite/fp32" in variants:
        pytest.importorskip("litert_torch", reason="an optional package")
    plan = ExitPlan(1, branch, ("blocks.0",))
    checkpoint = attach_exits(f"tests.helpers.layout_networks:{network}", None, None, plan, 0)
    options = ExportOptions(variants=variants, references=False)
    manifest = export_bundle(checkpoint, tmp_path / "b.eebundle", options)
    assert manifest.tensors["seg0_out"].shape == boundary
    inputs = checkpoint.samples["x"][:5]
    with torch.no_grad():
        expected = [logits.numpy() for logits in checkpoint.build()(inputs)]
    for variant in variants:
        made = load(tmp_path / "b.eebundle", variant=variant).every_exit({"x": inputs.numpy()})
        for (logits, _), wanted in zip(made, expected, strict=True):
            assert np.allclose(logits, wanted, atol=1e-5)
    for component in manifest.components:
        graph = manifest.variants["onnx/fp32"].components[component.name]
        kernels = kernels_from_graph(read_graph(tmp_path / "b.eebundle" / graph.path))
        assert total_macs(kernels) == component.macs
