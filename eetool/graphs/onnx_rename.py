"""Short names for nodes and inner tensors. In a small int8 graph long names are as large as the weights."""

import onnx


def shorten_onnx(model: onnx.ModelProto) -> None:
    """Replace the names of nodes and inner tensors by numbers, in place.

    Inputs and outputs keep their names. Graphs with subgraphs are not changed.
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
