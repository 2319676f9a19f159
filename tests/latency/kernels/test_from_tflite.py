"""Kernels of TFLite graphs, compared with ONNX and with the operators that LiteRT runs."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from eetool.graphs.tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.kernels.kernel import FP32, INT8, INTERPRETED, LARGE_WINDOW, work
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, probe_networks

pytest.importorskip("ai_edge_litert")

NETS = list(islice(probe_networks(), 16))


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


@pytest.mark.parametrize("batch", [1, 8])
def test_kernels_from_tflite_macs_are_counted_at_the_batch_of_the_file(batch: int) -> None:
    tensors = (
        TfliteTensor((batch, 6, 6, 4), False, False),
        TfliteTensor((5, 3, 3, 4), False, True),  # of the convolution
        TfliteTensor((batch, 6, 6, 5), False, False),
        TfliteTensor((1, 3, 3, 5), False, True),  # of the depthwise one
        TfliteTensor((batch, 6, 6, 5), False, False),
        TfliteTensor((2, 3, 3, 5), False, True),  # of the transposed one
        TfliteTensor((batch, 12, 12, 2), False, False),
        TfliteTensor((4,), False, True),
        TfliteTensor((batch, 2), False, False),
    )
    window = {"strideH": 1, "strideW": 1}
    operations = (
        TfliteOperator("CONV_2D", (0, 1), (2,), window),
        TfliteOperator("DEPTHWISE_CONV_2D", (2, 3), (4,), window),
        TfliteOperator("TRANSPOSE_CONV", (7, 5, 4), (6,), {}),
        TfliteOperator("MEAN", (6, 7), (8,), {}),
    )
    conv, depthwise, transposed, mean = kernels_from_tflite(TfliteGraph(operations, tensors, (8,)))
    assert conv.macs == batch * 36 * 5 * 9 * 4
    assert depthwise.macs == batch * 36 * 5 * 9
    assert transposed.macs == batch * 36 * 5 * 9 * 2
    assert work(mean).read_bytes == batch * 144 * 2 * 4
