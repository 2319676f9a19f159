"""Multiply-accumulates of ONNX operators that have no kernel model, and the operators that have any."""

import math
from collections.abc import Callable

from eetool.graphs.onnx_graph import GraphNode, SizedGraph

_MICROSOFT = "com.microsoft."


def macs_of_operator(node: GraphNode, graph: SizedGraph) -> int:
    """Return the multiply-accumulates of an operator at the sizes of its graph; 0 for operators without a rule here."""
    rule = _RULES.get(node.op.removeprefix(_MICROSOFT))
    try:
        return rule(node, graph) if rule is not None else 0
    except (IndexError, KeyError, ValueError):  # an omitted input, or one of unknown sizes
        return 0


def is_linear(node: GraphNode) -> bool:
    """Return whether an operator multiplies and accumulates, so that its number format is that of the network."""
    return node.op.removeprefix(_MICROSOFT) in _RULES


def _window(weights: int) -> Callable[[GraphNode, SizedGraph], int]:
    """Return the rule of a convolution: each output is a sum over the window and the channels of a group."""

    def rule(node: GraphNode, graph: SizedGraph) -> int:
        return graph.size(node.output) * math.prod(graph.shapes[node.inputs[weights]][1:])

    return rule


def _transposed_window(node: GraphNode, graph: SizedGraph) -> int:
    """Each input is multiplied by the window and the output channels of a group."""
    return graph.size(node.inputs[0]) * math.prod(graph.shapes[node.inputs[1]][1:])


def _product(node: GraphNode, graph: SizedGraph) -> int:
    left = graph.shapes[node.inputs[0]]
    return graph.size(node.output) * left[-2 if node.attributes.get("transA", 0) else -1]


def _recurrent(node: GraphNode, graph: SizedGraph) -> int:
    """At every position of every sequence, both matrices of each direction are read once."""
    steps, batch = graph.shapes[node.inputs[0]][:2]
    if node.attributes.get("layout", 0):
        steps, batch = batch, steps
    return steps * batch * (graph.size(node.inputs[1]) + graph.size(node.inputs[2]))


def _einsum(node: GraphNode, graph: SizedGraph) -> int:
    """Return the product of all sizes; a sum over one operand multiplies nothing."""
    equation = node.attributes["equation"]
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    terms = text.split("->")[0].split(",")
    if len(terms) < 2:
        return 0
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.inputs, strict=True):
        shape = graph.shapes[name]
        before, dots, after = term.partition("...")
        hidden = len(shape) - len(before) - len(after)
        letters = [*before, *(f"...{hidden - i}" for i in range(hidden if dots else 0)), *after]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())


_RULES: dict[str, Callable[[GraphNode, SizedGraph], int]] = {
    **dict.fromkeys(("Conv", "ConvInteger", "FusedConv", "NhwcFusedConv"), _window(1)),
    "QLinearConv": _window(3),
    "ConvTranspose": _transposed_window,
    **dict.fromkeys(
        ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "QGemm", "FusedMatMul", "FusedGemm"), _product
    ),
    **dict.fromkeys(("MatMulIntegerToFloat", "DynamicQuantizeMatMul"), _product),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    "Einsum": _einsum,
}
