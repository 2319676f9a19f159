"""Normalisation of exported ONNX files: opset 18, IR version 8, and no traces of the exporting machine."""

import onnx

from eetool.errors import ArtefactError

OPSET = 18  # with IR version 8 this loads on onnxruntime 1.14 and newer
IR_VERSION = 8


def normalize_onnx(model: onnx.ModelProto) -> None:
    """Remove fields that depend on this machine or that old runtimes reject.

    The bytes of bundles depend on the fields that remain, so this edits the protobuf (docs/decisions/0027).

    Args:
        model: the model; it is changed.

    Raises:
        ArtefactError: the model has another opset.
    """
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "eetool", "", ""
    del model.metadata_props[:]
    used = {node.domain for node in model.graph.node}
    for unused in [o for o in model.opset_import if o.domain not in used and o.domain != ""]:
        model.opset_import.remove(unused)
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    versions = {o.version for o in model.opset_import if o.domain == ""}
    if versions != {OPSET}:
        raise ArtefactError(f"the converter wrote opset {sorted(versions)} instead of {OPSET}")


def extract_subgraph(model: onnx.ModelProto, tensor: str, name: str) -> onnx.ModelProto:
    """Return the part of a model that computes one of its outputs.

    Args:
        model: the model; it is not changed.
        tensor: the output.
        name: new name of the output.
    """
    needed, nodes = {tensor}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed.update(read for reader in (node, *_inner_nodes(node)) for read in reader.input)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend(reversed(nodes))
    for items in (graph.input, graph.initializer):
        for surplus in [item for item in items if item.name not in needed]:
            items.remove(surplus)
    for surplus in [item for item in graph.output if item.name != tensor]:
        graph.output.remove(surplus)
    graph.output[0].name = name
    for node in graph.node:
        node.input[:] = [name if read == tensor else read for read in node.input]
        node.output[:] = [name if written == tensor else written for written in node.output]
    return part


def _inner_nodes(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes in the subgraphs of `node`; they can also read outer tensors."""
    graphs = [g for a in node.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    return [inner for graph in graphs for child in graph.node for inner in (child, *_inner_nodes(child))]
