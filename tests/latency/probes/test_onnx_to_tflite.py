"""Conversion of probe networks to TFLite: outputs compared with ONNX."""

from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from eetool.latency.probes.large_networks import ONNX_ONLY
from eetool.latency.probes.onnx_builder import INPUT, to_model
from eetool.latency.probes.onnx_to_tflite import convert_to_tflite
from eetool.latency.probes.probe_network import ProbeNetwork, probe_networks
from eetool_runtime.backends import open_graph

pytest.importorskip("ai_edge_litert")

NETS = [net for net in islice(probe_networks(), 16) if net.family not in ONNX_ONLY]


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_convert_to_tflite_output_equals_onnx(net: ProbeNetwork, tmp_path: Path) -> None:
    builder = net.build()
    path = tmp_path / "net.tflite"
    path.write_bytes(convert_to_tflite(builder))
    x = np.random.default_rng(0).standard_normal(tuple(builder.weights[INPUT])).astype(np.float32)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    expected = ort.InferenceSession(to_model(builder).SerializeToString(), options).run(None, {"x": x})[0]
    (output,) = open_graph(path).run({"x": x})
    if not any(node.op_type == "HardSigmoid" for node in builder.nodes):  # TFLite uses another slope at 0
        assert np.abs(output.reshape(expected.shape) - expected).max() <= 1e-3 * max(1, np.abs(expected).max())
