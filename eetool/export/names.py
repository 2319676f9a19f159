"""Short names for what happens inside a graph. In a small int8 graph long names weigh as much as the weights."""

from pathlib import Path

import onnx


def shorten_onnx(model: onnx.ModelProto) -> None:
    """Number nodes and inner tensors; inputs and outputs keep their names. Graphs with subgraphs are left alone."""
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
    del graph.value_info[:]  # runtimes infer shapes themselves


def shorten_tflite(path: Path) -> None:
    """Number the inner tensors of the file at `path`; those of its signature keep their names."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for graph in model.subgraphs:
        kept = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            if i not in kept:
                tensor.name = f"t{i}".encode()
    builder = flatbuffers.Builder(path.stat().st_size + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
