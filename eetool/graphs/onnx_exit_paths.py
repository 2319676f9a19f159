"""ONNX files that leave early by themselves (docs/single-file.md): what runs for an input that leaves at each exit."""

from collections.abc import Iterator
from typing import Any

_IF = "If"


def exit_path_models(model: Any) -> list[Any]:
    """One flat `onnx.ModelProto` per exit of nested `If`s, with all that runs until it is left at; none without `If`.

    Every level must be as eetool nests it: one `If`, which makes what the graph answers, with the exit in its first
    branch and all that follows in its second. Names are told apart between levels already.
    """
    if not _gates(model.graph):
        return []
    found: list[Any] = []
    nodes: list[Any] = []
    weights: list[Any] = []
    graph = model.graph
    while True:
        gates = _gates(graph)
        nodes += [node for node in graph.node if node.op_type != _IF]
        weights += graph.initializer
        if not gates:
            return [*found, _flat(model, nodes, weights, graph)]
        if len(gates) > 1:
            return []
        branches = {attribute.name: attribute.g for attribute in gates[0].attribute}
        leave = branches["then_branch"]
        if _gates(leave):
            return []
        found.append(_flat(model, [*nodes, *leave.node], [*weights, *leave.initializer], leave))
        graph = branches["else_branch"]


def _gates(graph: Any) -> list[Any]:
    return [node for node in graph.node if node.op_type == _IF]


def _flat(model: Any, nodes: list[Any], weights: list[Any], last: Any) -> Any:
    """The nodes up to the end of the graph `last`, which has the outputs."""
    made = type(model)()
    made.CopyFrom(model)
    for field in ("node", "initializer", "output", "value_info"):
        del getattr(made.graph, field)[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(weights)
    made.graph.output.extend(_data(last.output, made.graph))
    return made


def _data(outputs: Any, graph: Any) -> Iterator[Any]:
    """Outputs that are not constant, as the number of the exit is."""
    constant = {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return (value for value in outputs if value.name not in constant)
