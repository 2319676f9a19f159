"""Kernels of three networks with depthwise convolutions that others timed on the Raspberry Pi 4, at 224 × 224.

MobileNetV1 (Howard et al., 2017, arXiv 1704.04861), MobileNetV2 (Sandler et al., 2018, arXiv 1801.04381) and MnasNet-B1
(Tan et al., 2019, arXiv 1807.11626).
"""

import json
from pathlib import Path
from typing import Any

from fbnet import pointwise

from eetool.latency.estimate.latency_breakdown import graph_breakdown, ratio_interval
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.hw_profile import find_device
from eetool.latency.table.table import LITERT

SIZE, CLASSES = 224, 1000
# Output channels and stride of each depthwise-separable layer.
V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Window, expansion, output channels, repeats and stride of each stage of inverted residuals.
V2 = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (3, 6, 32, 3, 2),
    (3, 6, 64, 4, 2),
    (3, 6, 96, 3, 1),
    (3, 6, 160, 3, 2),
    (3, 6, 320, 1, 1),
)
MNASNET = (
    (3, 1, 16, 1, 1),
    (3, 3, 24, 3, 2),
    (5, 3, 40, 3, 2),
    (5, 6, 80, 3, 2),
    (3, 6, 96, 2, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
NETWORKS = ("mobilenet", "mobilenet_v2", "mnasnet")
XNNPACK_NAMES = {"mobilenet": "mobilenet_v1_1.0", "mobilenet_v2": "mobilenet_v2_1.0"}


def published_networks(folder: Path) -> dict[str, Any]:
    """Return predictions for `rpi4` beside the published latencies, and ratios to the first network beside theirs."""
    tables = json.loads((folder / "raspberry_pi_tables.json").read_text())
    board = [run for run in tables["ncnn"]["runs"] if "Pi 4" in run["device"] and run["gpu_device"] == -1]
    ncnn = next(run["ms"] for run in board if run["num_threads"] == 1)
    xnnpack = {name: tables["xnnpack"]["rows"][row]["RPi4 BCM2711"] for name, row in XNNPACK_NAMES.items()}
    predictor = Predictor(find_device("rpi4"), LITERT, "fp32", 1)
    breakdowns = {name: graph_breakdown(network(name), predictor) for name in NETWORKS}
    rows = []
    for name in NETWORKS:
        cost = predictor.graph(name, network(name))
        composition = predictor.kernel_costs.composition
        ratio, low, high = ratio_interval(breakdowns[name], breakdowns[NETWORKS[0]], composition)
        rows.append(
            {
                "network": name,
                "predicted_ms": round(cost.latency_ms, 1),
                "interval_ms": [round(bound, 1) for bound in cost.interval_ms],
                "ncnn_ms": ncnn[name][2],
                "xnnpack_four_threads_ms": xnnpack.get(name),
                "predicted_ratio": round(ratio, 3),
                "ratio_ci95": [round(low, 3), round(high, 3)],
                "ncnn_ratio": round(ncnn[name][2] / ncnn[NETWORKS[0]][2], 3),
            }
        )
    return {"networks": rows, "ncnn_threads": 1, "ncnn_clock_mhz": 1800}


def network(name: str) -> list[Kernel]:
    """Return the kernels of a network."""
    size, channels = SIZE // 2, 32
    stem = {"in_channels": 3, "out_channels": channels, "height": SIZE, "width": SIZE, "kernel": 3, "stride": 2}
    kernels = [Kernel("conv", stem)]
    if name == "mobilenet":
        for out, stride in V1:
            kernels.append(_depthwise(channels, size, 3, stride))
            size, channels, inner = size // stride, out, channels
            kernels.append(pointwise(inner, out, size))
    else:
        for window, expansion, out, repeats, stride in V2 if name == "mobilenet_v2" else MNASNET:
            for index in range(repeats):
                step = stride if index == 0 else 1
                kernels += _inverted_residual(channels, out, size, window, expansion, step)
                size, channels = size // step, out
        kernels.append(pointwise(channels, 1280, size))
        channels = 1280
    pooled = Kernel("global_pool", {"channels": channels, "height": size, "width": size})
    return [*kernels, pooled, Kernel("linear", {"in_features": channels, "out_features": CLASSES})]


def _inverted_residual(inner: int, out: int, size: int, window: int, expansion: int, stride: int) -> list[Kernel]:
    middle = inner * expansion
    kernels = [] if expansion == 1 else [pointwise(inner, middle, size)]
    kernels += [_depthwise(middle, size, window, stride), pointwise(middle, out, size // stride)]
    if inner == out and stride == 1:
        elements = out * size**2
        kernels.append(Kernel("elementwise", {"elements": elements, "reads": 2 * elements}))
    return kernels


def _depthwise(channels: int, size: int, window: int, stride: int) -> Kernel:
    return Kernel(
        "depthwise", {"channels": channels, "height": size, "width": size, "kernel": window, "stride": stride}
    )
