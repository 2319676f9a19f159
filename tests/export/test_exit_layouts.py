"""Bundles of networks with features over time, whose exits compute on the device what they compute in torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.latency.kernels.from_onnx import kernels_from_file, total_macs
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime import load


def test_export_bundle_convolutions_over_time_keep_their_logits_and_macs(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="an optional package")
    plan = ExitPlan(1, "max2,conv3-8,avg2,sep3-4", ("blocks.0",))
    checkpoint = attach_exits("tests.helpers.layout_networks:waves", None, None, plan, 0)
    options = ExportOptions(variants=("onnx/fp32", "tflite/fp32"), references=False)
    manifest = export_bundle(checkpoint, tmp_path / "b.eebundle", options).manifest
    assert manifest.tensors["seg0_out"].shape == ("batch", 8, 24)
    inputs = checkpoint.samples["x"][:5]
    with torch.no_grad():
        expected = [logits.numpy() for logits in checkpoint.build()(inputs)]
    for name, variant in manifest.variants.items():
        made = load(tmp_path / "b.eebundle", variant=name).every_exit({"x": inputs.numpy()})
        for (logits, _), wanted in zip(made, expected, strict=True):
            assert np.allclose(logits, wanted, atol=1e-5)
        if name == "onnx/fp32":
            for component in manifest.components:
                kernels = kernels_from_file(tmp_path / "b.eebundle" / variant.components[component.name].path)
                assert total_macs(kernels) == component.macs
