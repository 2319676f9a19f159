"""TFLite probes: outputs compared with ONNX, and kernels compared with those that LiteRT runs."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from eetool.errors import ArtefactError
from eetool.graphs.tflite_graph import parse_tflite, read_tflite
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.kernels.kernel import FP32, INT8, INTERPRETED, LARGE_WINDOW
from eetool.latency.probes.onnx_builder import INPUT, to_model
from eetool.latency.probes.onnx_to_tflite import convert_to_tflite
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, probe_networks
from eetool_measure.probe_timing import measure_probes
from eetool_runtime.backends import open_graph

pytest.importorskip("ai_edge_litert")

NETS = [net for net, _ in zip(probe_networks(), range(16), strict=False)]


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


def test_kernels_of_probe_tflite_macs_equal_onnx() -> None:
    net = ProbeNetwork("inverted", 2)
    float_kernels = kernels_of_probe(net, ProbeKind("tflite", FP32))
    of_onnx = kernels_of_probe(net, ProbeKind())
    assert {kernel.precision for kernel in float_kernels} == {FP32}
    for kind in ("depthwise", "linear"):
        macs = [sum(k.macs for k in kernels if k.kind == kind) for kernels in (float_kernels, of_onnx)]
        assert macs[0] == macs[1]
    assert sum(k.macs for k in float_kernels) == sum(k.macs for k in of_onnx)
    assert not [kernel for kernel in float_kernels if kernel.kind == "other"]


def test_kernels_from_tflite_padding_is_fused_into_convolution() -> None:
    padded = [
        k for seed in range(24) for k in kernels_of_probe(ProbeNetwork("plain", seed * 8), ProbeKind("tflite", FP32))
    ]
    fused = [k for k in padded if k.ops == ("PAD", "CONV_2D")]
    assert fused
    assert all(k.shape["out_height"] == -(-k.shape["height"] // k.shape["stride"]) for k in fused)


@pytest.mark.parametrize("kind", [ProbeKind("onnx", INT8), ProbeKind("tflite", INT8), ProbeKind("tflite", FP32)])
def test_measure_probes_every_kind_gives_latencies(kind: ProbeKind, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_quantizer")
    chosen = [ProbeNetwork("plain", 0), ProbeNetwork("residual", 1)]
    assert write_probes(tmp_path / "probes", chosen, kind) == chosen
    measured = measure_probes(tmp_path / "probes", runs=1)
    assert (measured.format, measured.precision) == (kind.format, kind.precision)
    assert all(probe.latency_ms.median > 0 and not probe.kernels for probe in measured.probes)
    count = Counter(kernel.precision for net in chosen for kernel in kernels_of_probe(net, kind))
    assert (count[INT8] > count[FP32]) == (kind.precision == INT8)


def test_read_tflite_invalid_raises_artefact_error(tmp_path: Path) -> None:
    for name, content in (("empty.tflite", b""), ("text.tflite", b"what is this, and why?")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtefactError, match="not a TFLite file"):
            read_tflite(tmp_path / name)
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_tflite(tmp_path / "missing.tflite")
    whole = convert_to_tflite(ProbeNetwork("plain", 0).build())
    assert kernels_from_tflite(parse_tflite(whole, "whole"))
    with pytest.raises(ArtefactError, match="cannot be read as a TFLite file"):
        parse_tflite(whole[:400], "cut")


def not_delegated(path: Path) -> Counter[str]:
    """Return the operators of a file that LiteRT does not delegate to XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    delegated = [o for o in operators if o["op_name"] == "DELEGATE"]
    inside = {int(index) for o in delegated for index in o["outputs"]}
    makers = {int(i): o for o in operators if o["op_name"] != "DELEGATE" for i in o["outputs"]}
    ahead = [int(index) for o in delegated for index in o["inputs"]]
    ahead += [tensor["index"] for tensor in interpreter.get_output_details()]
    operators_left = {}
    while ahead:
        index = ahead.pop()
        if index in makers and index not in inside and makers[index]["index"] not in operators_left:
            operators_left[makers[index]["index"]] = makers[index]["op_name"]
            ahead += [int(i) for i in makers[index]["inputs"] if i >= 0]
    return Counter(operators_left.values())


@pytest.mark.parametrize("precision", [FP32, INT8])
def test_kernels_from_tflite_interpreted_operators_match_litert(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_quantizer")
    kind = ProbeKind("tflite", precision)
    seen: Counter[str] = Counter()
    more = [ProbeNetwork("plain", 69), ProbeNetwork("residual", 42), ProbeNetwork("branched", 40)]
    for net in write_probes(tmp_path / "probes", [*NETS, *more], kind):
        marked = [k for k in kernels_of_probe(net, kind) if k.shape.get("form") == INTERPRETED]
        predicted = Counter(kernel.ops[-1] for kernel in marked)
        assert predicted == not_delegated(tmp_path / "probes" / f"{net.name}.tflite"), net.name
        seen += predicted
    assert seen


def test_kernels_from_tflite_large_windows_have_own_form() -> None:
    windows = [
        k for seed in range(5, 60, 11) for k in kernels_of_probe(ProbeNetwork("separable", seed), ProbeKind("tflite"))
    ]
    depthwise = [k for k in windows if k.kind == "depthwise"]
    assert {k.shape["kernel"] > 5 for k in depthwise} == {True, False}
    assert all((k.shape["form"] == LARGE_WINDOW) == (k.shape["kernel"] > 5) for k in depthwise)
