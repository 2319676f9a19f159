"""Graphs recorded from one forward pass."""

import pytest
import torch
from torch import nn

from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.model.early_exit import EarlyExitNet
from eetool.model.graph_recorder import UnknownOperatorError, record_graphs
from eetool.model.scored_network import ScoredNetwork


def test_record_graphs_operator_in_place_or_unknown() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(7200, 10))
    in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), *plain[2:])
    x = torch.zeros(1, 3, 32, 32)
    recordings = [record_graphs(ScoredNetwork(EarlyExitNet(net, {})).eval(), (x,)) for net in (plain, in_place)]
    ops = [[node.op for node in recorded.graphs["exit0"].nodes] for recorded in recordings]
    score = ["ReduceMax", "Sub", "Div", "Softmax", "ReduceMax"]
    assert ops[0] == ops[1] == ["Conv", "Relu", "Reshape", "Gemm", *score]
    with pytest.raises(UnknownOperatorError, match="cumsum"):
        record_graphs(ScoredNetwork(EarlyExitNet(nn.Sequential(*plain, Sum()), {})).eval(), (x,))


class Sum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1)


def test_record_graphs_peak_memory_counts_weights_and_live_activations() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 2, 1, bias=False), nn.Flatten())
    recorded = record_graphs(ScoredNetwork(EarlyExitNet(net, {})).eval(), (torch.zeros(1, 3, 4, 4),))
    weights, temperature = 4 * (24 + 16), 4
    assert recorded.peak_memory_bytes == weights + temperature + 4 * (8 + max(3, 2)) * 16


def test_record_graphs_pooling_over_time_is_one_operator() -> None:
    layers = nn.Sequential(nn.MaxPool1d(2), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(4, 3))
    graph = record_graphs(ScoredNetwork(EarlyExitNet(layers, {})).eval(), (torch.zeros(1, 2, 8),)).graphs["exit0"]
    pools = {node.op: (graph.shapes[node.inputs[0]], graph.shapes[node.output]) for node in graph.nodes[:4]}
    assert pools["MaxPool"] == ((1, 2, 8), (1, 2, 4))
    assert pools["AveragePool"] == ((1, 2, 4), (1, 2, 2))
    assert [kernel.kind for kernel in kernels_from_graph(graph)][:4] == ["pool", "pool", "layout", "linear"]
