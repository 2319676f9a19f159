"""Exit paths of single-file ONNX models (docs/single-file.md): the operators that run until each exit."""

from collections.abc import Iterator
from typing import Any

_IF = "If"


def exit_path_models(model: Any) -> list[Any]:
    """Return one flat model per exit of nested `If` operators, with all operators that run until this exit.

    Every level must have the structure of an eetool single file: one `If` that computes the outputs, with the exit in
    its first branch and all later stages in its second. Names are unique across levels.

    Args:
        model: an `onnx.ModelProto`.

    Returns:
        The models, in order of the exits; none without `If`, or with another structure.
    """
    if not _gates(model.graph):
        return []
    paths: list[Any] = []
    nodes: list[Any] = []
    weights: list[Any] = []
    graph = model.graph
    while True:
        gates = _gates(graph)
        nodes += [node for node in graph.node if node.op_type != _IF]
        weights += graph.initializer
        if not gates:
            return [*paths, _flat(model, nodes, weights, graph)]
        if len(gates) > 1:
            return []
        branches = {attribute.name: attribute.g for attribute in gates[0].attribute}
        leave = branches["then_branch"]
        if _gates(leave):
            return []
        paths.append(_flat(model, [*nodes, *leave.node], [*weights, *leave.initializer], leave))
        graph = branches["else_branch"]


def _gates(graph: Any) -> list[Any]:
    return [node for node in graph.node if node.op_type == _IF]


def _flat(model: Any, nodes: list[Any], weights: list[Any], last: Any) -> Any:
    """Return a model of these nodes with the outputs of the graph `last`."""
    flat = type(model)()
    flat.CopyFrom(model)
    for field in ("node", "initializer", "output", "value_info"):
        del getattr(flat.graph, field)[:]
    flat.graph.node.extend(nodes)
    flat.graph.initializer.extend(weights)
    flat.graph.output.extend(_variable_outputs(last.output, flat.graph))
    return flat


def _variable_outputs(outputs: Any, graph: Any) -> Iterator[Any]:
    """Yield the outputs that are not constant; the number of the exit is."""
    constant = {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return (value for value in outputs if value.name not in constant)
