"""NAS-Bench-201 (Dong & Yang, 2020, arXiv 2001.00326): measured cells, executed operations and networks.

A cell has four nodes; node t is the sum of the operations on the edges t←s from earlier nodes s. A network is
a stem, three stages of five equal cells with 16, 32 and 64 channels, residual blocks of stride 2 between them, and a
head. HW-NAS-Bench exported `none` as a multiplication by zero, which runtimes treat differently (see `ran`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NONE, SKIP, CONV1, CONV3, POOL = range(5)
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (to, from), in the order of the data
ONNXRUNTIME, LITERT = "onnx", "litert"
PARTS = ("networks", "conv1x1", "conv3x3", "pool", "sum")
SPLIT_SEED = 20261122
CELLS, CHANNELS = 5, (16, 32, 64)


@dataclass(frozen=True)
class Cells:
    """Operations `ops` (n, 6) of cells, their measured columns, and the mask of cells used to develop the fit."""

    ops: np.ndarray
    columns: dict[str, np.ndarray]
    developed_on: np.ndarray


def read_cells(folder: Path) -> tuple[Cells, Cells]:
    """Read the cells measured on a Raspberry Pi 4 and a Pixel 3 (TFLite, once each), and on a Raspberry Pi 5."""
    data = np.load(folder / "nasbench201_measured.npz", allow_pickle=False)
    draw = np.random.default_rng(SPLIT_SEED)
    pi4 = {name: data[name].astype(float) for name in ("raspi4_cifar10_ms", "pixel3_cifar10_ms")}
    pi5 = {name: data[name].astype(float) for name in data if name.startswith("pi5_")}
    first = Cells(data["arch_ops"], pi4, draw.random(len(data["arch_ops"])) < 0.5)
    return first, Cells(data["rep_ops"], pi5, draw.random(len(data["rep_ops"])) < 0.5)


def reaches(ops: np.ndarray) -> list[bool]:
    """Return for each edge whether its result reaches the output of the cell."""
    wanted = {3}
    for (to, source), op in sorted(zip(EDGES, ops, strict=True), reverse=True):
        if to in wanted and op != NONE:
            wanted.add(source)
    return [op != NONE and to in wanted for (to, _), op in zip(EDGES, ops, strict=True)]


def depends(ops: np.ndarray) -> list[bool]:
    """Return for each edge whether its result depends on the input of the cell."""
    alive = {0}
    for (to, source), op in zip(EDGES, ops, strict=True):
        if op != NONE and source in alive:
            alive.add(to)
    return [op != NONE and source in alive for (_, source), op in zip(EDGES, ops, strict=True)]


def output_depends_on_input(ops: np.ndarray) -> bool:
    """Return whether the output of the network depends on its input."""
    return any(a and b and to == 3 for a, b, (to, _) in zip(reaches(ops), depends(ops), EDGES, strict=True))


def ran(ops: np.ndarray, runtime: str) -> list[int]:
    """Return the operation that runs on each edge, or `NONE`.

    ONNX Runtime executes every operation, including the multiplication by zero of `none`. LiteRT's converter drops
    results that do not reach the output, and copies and means of zeros, but not convolutions of zeros.
    """
    if runtime == ONNXRUNTIME:
        return [int(op) for op in ops]
    return [
        int(op) if wanted and (alive or op in (CONV1, CONV3)) else NONE
        for op, wanted, alive in zip(ops, reaches(ops), depends(ops), strict=True)
    ]


def parts(ops: np.ndarray, runtime: str, merges: bool) -> list[int]:
    """Count each of `PARTS` in a cell; with `merges` equal poolings of one node are computed once."""
    run = ran(ops, runtime)
    into = [sum(op != NONE and to == node for (to, _), op in zip(EDGES, run, strict=True)) for node in (1, 2, 3)]
    pools = [source for (_, source), op in zip(EDGES, run, strict=True) if op == POOL]
    pooled = len(set(pools)) if merges else len(pools)
    return [1, run.count(CONV1), run.count(CONV3), pooled, sum(max(0, count - 1) for count in into)]


def table_of(cells: np.ndarray, runtime: str, merges: bool) -> np.ndarray:
    """Return the columns (n, 5) for `eetool.latency.build.robust_nnls.fit_costs`."""
    return np.array([parts(ops, runtime, merges) for ops in cells], float)


def is_plain(ops: np.ndarray) -> bool:
    """Return whether every operation matters; the executed operations are then the same in every runtime."""
    return output_depends_on_input(ops) and all(
        op == NONE or (a and b) for op, a, b in zip(ops, reaches(ops), depends(ops), strict=True)
    )


def network(ops: np.ndarray, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> Any:
    """Build the network as an `onnx.ModelProto`, with batch normalisations folded into convolutions."""
    return _Writer(shape, classes).network([int(op) for op in ops])


class _Writer:
    """Writer of ONNX nodes in order; tensors are named by number."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.shape, self.classes = shape, classes

    def network(self, ops: list[int]) -> Any:
        from onnx import TensorProto, helper

        x = self.conv("x", self.shape[0], CHANNELS[0], 3)
        for stage, channels in enumerate(CHANNELS):
            if stage:
                x = self.residual(x, CHANNELS[stage - 1], channels)
            for _ in range(CELLS):
                x = self.cell(x, channels, ops)
        x = self.node("GlobalAveragePool", [self.node("Relu", [x])])
        x = self.node("Flatten", [x])
        x = self.node("Gemm", [x, self.weight(CHANNELS[-1], self.classes), self.weight(self.classes)])
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, *self.shape)),
            helper.make_tensor_value_info(x, TensorProto.FLOAT, (1, self.classes)),
        ]
        graph = helper.make_graph(self.nodes, "nasbench201", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    def cell(self, x: str, channels: int, ops: list[int]) -> str:
        nodes: list[str | None] = [x, None, None, None]
        for node in (1, 2, 3):
            terms = [
                self.operation(op, source, channels)
                for (to, at), op in zip(EDGES, ops, strict=True)
                if to == node and op != NONE and (source := nodes[at]) is not None
            ]
            while len(terms) > 1:
                terms = [self.node("Add", terms[:2]), *terms[2:]]
            nodes[node] = terms[0] if terms else None
        out = nodes[3]
        assert out is not None, "the output depends on nothing"
        return out

    def operation(self, op: int, x: str, channels: int) -> str:
        if op == SKIP:
            return x
        if op == POOL:
            return self.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0)
        return self.conv(self.node("Relu", [x]), channels, channels, 1 if op == CONV1 else 3)

    def residual(self, x: str, channels: int, out: int) -> str:
        y = self.conv(self.node("Relu", [x]), channels, out, 3, stride=2)
        y = self.conv(self.node("Relu", [y]), out, out, 3)
        halved = self.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        return self.node("Add", [self.conv(halved, channels, out, 1), y])

    def conv(self, x: str, channels: int, out: int, kernel: int, stride: int = 1) -> str:
        weights = [self.weight(out, channels, kernel, kernel), self.weight(out)]
        side = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "strides": [stride] * 2}
        return self.node("Conv", [x, *weights], **side)

    def weight(self, *shape: int) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.full(shape, 0.01, np.float32), name))
        return name

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name
