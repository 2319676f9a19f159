"""ONNX files as they leave eetool: opset 18, IR version 8, nothing of this machine; without torch."""

import onnx

from eetool.errors import ArtefactError

OPSET = 18  # with IR version 8 this loads on onnxruntime 1.14 and newer
IR_VERSION = 8


def make_plain(model: onnx.ModelProto) -> None:
    """Strip what depends on this machine or keeps old runtimes from loading the file.

    Raises:
        ArtefactError: it has another opset.
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
        raise ArtefactError(f"the converter gave opset {sorted(versions)} where {OPSET} was asked for")
