"""One ONNX graph of the components behind a cut, which turns what was sent back into float32 first."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from eetool.errors import ArtefactError
from eetool.export.offload.cut import Cut
from eetool.export.offload.wire import PROTOCOL_DTYPES, pixel_rules
from eetool.graphs.onnx_normalize import IR_VERSION, OPSET
from eetool.graphs.onnx_rename import rename_tensors
from eetool_runtime.manifest import Manifest, Tensor
from eetool_runtime.manifest_offload import OffloadInput

MAX_BYTES = (1 << 31) - 1  # of one protocol buffer
_RECEIVED = "received"  # prefix of tensors between the graph's inputs and the components
_NUMPY_DTYPES = {protocol: name for name, protocol in PROTOCOL_DTYPES.items()}


def build_tail(
    models: Mapping[str, ModelProto], cut: Cut, inputs: Sequence[OffloadInput], manifest: Manifest
) -> ModelProto:
    """Return the components behind a cut as one model, for any batch.

    Its inputs are the tensors that travel, as they travel, and the scalars of the later exits, float32 of shape (1,).
    Its outputs are logits and confidence of every later exit, under the names of the bundle.

    Args:
        models: graph of each component behind the cut, by name in running order.
        cut: the cut.
        inputs: how its tensors travel.
        manifest: of the bundle.

    Raises:
        ArtefactError: the graph would be larger than one file can be.
    """
    exits = cut.later_exits(manifest)
    scalars = [name for e in exits for name in e.scalars]
    received = {name: f"{_RECEIVED}/{name}" for name in (*cut.tensors, *scalars)}
    between = {name for component in cut.behind for name in component.outputs}
    nodes = [node for wire in inputs for node in _decoding(wire, received[wire.tensor], manifest)]
    nodes += [helper.make_node("Squeeze", [name], [received[name]], f"{_RECEIVED}/{name}/scalar") for name in scalars]
    weights: list[TensorProto] = [weight for wire in inputs for weight in _constants(wire, manifest)]
    sparse = []
    for name, model in models.items():
        graph = _renamed(model.graph, name, received, between)
        nodes += graph.node
        weights += graph.initializer
        sparse += graph.sparse_initializer
    declared = {**cut.tensors, **{name: Tensor("float32", (1,)) for name in scalars}, **manifest.tensors}
    taken = [_value(w.name, Tensor(_NUMPY_DTYPES[w.dtype], declared[w.tensor].shape)) for w in inputs]
    taken += [_value(name, declared[name]) for name in scalars]
    answers = [_value(name, declared[name]) for e in exits for name in (e.logits, e.confidence)]
    graph = helper.make_graph(nodes, "tail", taken, answers, weights, sparse_initializer=sparse)
    opsets = {o.domain: o for model in models.values() for o in model.opset_import}
    opsets.setdefault("", helper.make_opsetid("", OPSET))
    tail = helper.make_model(
        graph, opset_imports=[opsets[d] for d in sorted(opsets)], ir_version=IR_VERSION, producer_name="eetool"
    )
    if tail.ByteSize() > MAX_BYTES:
        raise ArtefactError(f"one ONNX file holds at most 2 GiB; what lies behind needs {tail.ByteSize()}")
    onnx.checker.check_model(tail)
    return tail


def _renamed(graph: GraphProto, component: str, received: Mapping[str, str], between: set[str]) -> GraphProto:
    """Return a copy of a component's graph that reads `received` tensors; inner names begin with the component's."""
    copy = GraphProto()
    copy.CopyFrom(graph)
    del copy.value_info[:]

    def new(name: str) -> str:
        if name in received:
            return received[name]
        return name if name in between else f"{component}/{name}"

    rename_tensors(copy, new)
    return copy


def _decoding(wire: OffloadInput, target: str, manifest: Manifest) -> list[NodeProto]:
    """Return the nodes that compute the tensor `target` of the components from what was sent."""
    name = f"{_RECEIVED}/{wire.tensor}"
    pixels = pixel_rules(manifest).get(wire.tensor)
    if wire.dtype == "FP16":
        return [helper.make_node("Cast", [wire.name], [target], f"{name}/cast", to=TensorProto.FLOAT)]
    if wire.scale is not None:
        read = [wire.name, f"{name}/scale", f"{name}/zero_point"]
        return [helper.make_node("DequantizeLinear", read, [target], f"{name}/dequantise")]
    if wire.dtype != "UINT8" or pixels is None:
        return [helper.make_node("Identity", [wire.name], [target], f"{name}/identity")]
    steps = [f"{name}/{step}" for step in ("float", "scaled", "centred")]
    return [
        helper.make_node("Cast", [wire.name], [steps[0]], f"{name}/cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [steps[0], f"{name}/scale"], [steps[1]], f"{name}/mul"),
        helper.make_node("Sub", [steps[1], f"{name}/mean"], [steps[2]], f"{name}/sub"),
        helper.make_node("Div", [steps[2], f"{name}/std"], [target], f"{name}/div"),
    ]


def _constants(wire: OffloadInput, manifest: Manifest) -> list[TensorProto]:
    """Return the constants that `_decoding` reads."""
    name, pixels = f"{_RECEIVED}/{wire.tensor}", pixel_rules(manifest).get(wire.tensor)
    values: dict[str, np.ndarray] = {}
    if wire.scale is not None:
        values = {"scale": np.array(wire.scale, np.float32), "zero_point": np.array(wire.zero_point, np.uint8)}
    elif wire.dtype == "UINT8" and pixels is not None:
        values = {"scale": np.array(pixels.scale, np.float32)}
        values |= {
            part: np.array(numbers, np.float32).reshape(1, -1, 1, 1)
            for part, numbers in (("mean", pixels.mean), ("std", pixels.std))
        }
    return [numpy_helper.from_array(array, f"{name}/{part}") for part, array in values.items()]


def _value(name: str, tensor: Tensor) -> ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(name, element, list(tensor.shape))


def free_dimensions(value: ValueInfoProto) -> list[int]:
    """Return the sizes of an input or output of a graph, −1 for a free one."""
    return [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim]
