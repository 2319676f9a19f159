"""New names for nodes and tensors of ONNX graphs."""

from collections.abc import Callable

import onnx


def rename_tensors(graph: onnx.GraphProto, new: Callable[[str], str]) -> None:
    """Give every tensor and node of `graph` and its subgraphs the name `new(name)`, in place; "" stays."""

    def of(name: str) -> str:
        return new(name) if name else ""

    sparse = [part for s in graph.sparse_initializer for part in (s.values, s.indices)]
    for item in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *sparse):
        item.name = of(item.name)
    for node in graph.node:
        node.name = of(node.name)
        node.input[:] = [of(name) for name in node.input]
        node.output[:] = [of(name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                rename_tensors(inner, new)


def shorten_onnx(model: onnx.ModelProto) -> None:
    """Replace the names of nodes and inner tensors by numbers, in place.

    In a small int8 graph long names are as large as the weights. Inputs and outputs keep their names. Graphs with
    subgraphs are not changed.
    """
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return
    kept = {value.name for value in (*graph.input, *graph.output)}
    short: dict[str, str] = {"": ""}

    def rename(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"t{len(short)}")

    for i, node in enumerate(graph.node):
        node.name = f"n{i}"
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
    for item in graph.initializer:
        item.name = rename(item.name)
    del graph.value_info[:]  # runtimes infer shapes
