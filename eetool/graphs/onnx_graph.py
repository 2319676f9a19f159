"""ONNX files as nodes with known sizes, constants separate from data. Weights are not read.

A symbolic batch is 1. A fixed one is kept, because other sizes in the file may depend on it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eetool.errors import ArtefactError
from eetool.graphs.onnx_exit_paths import exit_path_models
from eetool.graphs.onnx_side_files import check_side_file_size, load_external_data, require_side_files
from eetool.records import open_regular

Shape = tuple[int, ...]
_DEFAULT_DOMAINS = ("", "ai.onnx")
_INTEGERS = (6, 7)  # int32 and int64 in onnx.proto
_SHORT = 64  # numbers of a row of sizes or axes
_BATCH = "batch"  # name of the batch in exported graphs; between components it may be any dimension


@dataclass
class GraphNode:
    """One operator. `inputs` and `outputs` are names of tensors, "" for an omitted optional one."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    @property
    def output(self) -> str:
        """First output."""
        return self.outputs[0]


@dataclass
class SizedGraph:
    """Nodes in execution order; `constants` are tensors that depend on no input.

    `dtypes` are the number formats of tensors by ONNX's names, as far as they are known. `fixed_batch` is true where
    the file states every size of its inputs, which some fusions need; a symbolic batch is counted as 1.
    """

    nodes: list[GraphNode]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    constants: frozenset[str]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    fixed_batch: bool = False

    @property
    def batches(self) -> dict[str, int]:
        """First sizes of the inputs by name, without those of single numbers."""
        return {name: self.shapes[name][0] for name in self.inputs if self.shapes.get(name)}

    def size(self, tensor: str) -> int:
        """Return how many numbers a tensor holds; at least 1."""
        count = 1
        for size in self.shapes.get(tensor, ()):
            count *= size
        return max(count, 1)

    def uses(self) -> dict[str, list[GraphNode]]:
        """Return the nodes that read each tensor."""
        readers: dict[str, list[GraphNode]] = {}
        for node in self.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        return readers


def read_graph(path: Path) -> SizedGraph:
    """Read an ONNX file; a symbolic batch is 1.

    Raises:
        ArtefactError: it is missing or not an ONNX file, an input has an unknown size besides its batch, or operators
            run in a branch or a loop.
    """
    with damage_as_error(str(path)):
        return graph_from_model(load_onnx(path), str(path))


def read_exit_paths(path: Path) -> list[SizedGraph]:
    """Read a single-file model with exits: one graph per exit; none without `If`."""
    with damage_as_error(str(path)):
        return [graph_from_model(flat, str(path)) for flat in exit_path_models(load_onnx(path))]


@contextmanager
def damage_as_error(where: str) -> Iterator[None]:
    """Convert what damaged names and attributes of operators cause inside the block to ArtefactError.

    Protobuf gives texts that are not UTF-8 as bytes, and an attribute may have another type than its operator defines.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{where}: an operator is not as ONNX defines it: {_first_line(error)}") from error


def load_onnx(path: Path) -> Any:
    """Load an `onnx.ModelProto`. Of tensors in files beside it, only short rows of integers are read, such as sizes.

    Raises:
        ArtefactError: the file is missing, not an ONNX file, or holds no operators; or a file that its tensors lie in
            is missing, cut off or not in its folder.
    """
    import onnx

    try:
        with open_regular(path) as file:
            model = onnx.load(file, load_external_data=False)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: does not exist") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # types of protobuf
        raise ArtefactError(f"{path}: cannot be read as an ONNX file: {_first_line(error)}", "Copy it again.") from None
    if not model.graph.node:
        raise ArtefactError(f"{path}: holds no operators", "Predictable are ONNX files, bundles and checkpoints.")
    outside = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        require_side_files(path)
    for tensor in outside:
        check_side_file_size(tensor, path)
        if tensor.data_type in _INTEGERS and math.prod(tensor.dims) <= _SHORT:
            load_external_data(tensor, path)
    return model


def graph_from_model(model: Any, where: str) -> SizedGraph:
    """Return the graph of a model; a symbolic batch is 1.

    Args:
        model: an `onnx.ModelProto`; it is changed.
        where: where the model comes from, for messages.

    Raises:
        ArtefactError: an input has an unknown size besides its batch, shapes are contradictory, or operators run in a
            branch or a loop.
    """
    fixed_batch = _fix_batch(model, where)
    model = _without_functions(model, where)
    shapes, dtypes = _infer_shapes(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = []
    for proto in model.graph.node:
        node = _node(proto)
        if node.op == "Constant" or (node.inputs and all(name in constants or not name for name in node.inputs)):
            constants.update(node.outputs)
        else:
            nodes.append(node)
    inputs = tuple(value.name for value in model.graph.input if value.name not in constants)
    outputs = tuple(value.name for value in model.graph.output)
    return SizedGraph(nodes, inputs, outputs, shapes, frozenset(constants), dtypes, fixed_batch)


def remove_duplicate_nodes(graph: SizedGraph) -> SizedGraph:
    """Return the graph with equal operators on equal tensors merged into one.

    onnxruntime 1.32 does so at its default level. On a Raspberry Pi 5 the times of NAS-Bench-201 cells show the same,
    with ONNX Runtime and with LiteRT.
    """
    first: dict[tuple[str, ...], str] = {}
    same: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = [same.get(name, name) for name in node.inputs]
        key = (node.op, *inputs, repr(sorted(node.attributes.items())))
        if key in first and inputs and len(node.outputs) == 1 and node.output not in graph.outputs:
            same[node.output] = first[key]
        else:
            first.setdefault(key, node.output)
            nodes.append(replace(node, inputs=inputs))
    return replace(graph, nodes=nodes)


def _fix_batch(model: Any, where: str) -> bool:
    """Set symbolic batches to 1; return whether there were none."""
    known, fixed = {tensor.name for tensor in model.graph.initializer}, True
    for value in model.graph.input:
        if value.name in known:
            continue
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") != "dim_value" or dim.dim_value < 1:
                if index > 0 and dim.dim_param != _BATCH:
                    raise ArtefactError(f"{where}: input {value.name!r} has no fixed size in dimension {index}")
                dim.dim_value, fixed = 1, False
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed


def _without_functions(model: Any, where: str) -> Any:
    """Return the model with its own functions in place; refuse branches and loops, whose cost depends on the input."""
    import onnx.inliner

    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    node = next((n for n in model.graph.node if any(a.HasField("g") or a.graphs for a in n.attribute)), None)
    if node is not None:
        what = f"{where}: {node.op_type} {node.name!r} runs its operators in some cases only, so they cannot be counted"
        raise ArtefactError(what, "Export a network without branches and loops.")
    return model


def _infer_shapes(model: Any) -> tuple[dict[str, Shape], dict[str, str]]:
    """Return sizes and formats of all tensors; outputs of an unknown operator get those of its first input."""
    import onnx

    for _ in range(max(1, len(model.graph.node))):
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception as error:  # types of onnx
            raise ArtefactError(f"the graph contradicts itself: {_first_line(error)}") from None
        shapes = _known(inferred.graph)
        node = next((n for n in model.graph.node if _unknown(n, shapes)), None)
        if node is None:
            break
        kind = _kinds(inferred.graph).get(node.input[0], onnx.TensorProto.FLOAT)
        for name in node.output:
            sizes = shapes[node.input[0]]
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, sizes))
    kinds = _kinds(inferred.graph).items()
    return shapes, {name: onnx.TensorProto.DataType.Name(kind) for name, kind in kinds}


def _known(graph: Any) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            if all(dim.WhichOneof("value") == "dim_value" for dim in dims):
                shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _kinds(graph: Any) -> dict[str, int]:
    """Return the number formats of tensors, as ONNX numbers them."""
    values = (*graph.input, *graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: kind for name, kind in kinds.items() if kind} | {x.name: x.data_type for x in graph.initializer}


def _unknown(node: Any, shapes: Mapping[str, Shape]) -> bool:
    if not node.input or node.input[0] not in shapes:
        return False
    return any(name and name not in shapes for name in node.output)


def _node(proto: Any) -> GraphNode:
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    op = proto.op_type if proto.domain in _DEFAULT_DOMAINS else f"{proto.domain}.{proto.op_type}"
    return GraphNode(op, proto.name or proto.output[0], list(proto.input), list(proto.output), attributes)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def data_inputs(node: GraphNode, constants: Iterable[str]) -> list[str]:
    """Return the inputs of a node that depend on the inputs of the graph."""
    return [name for name in node.inputs if name and name not in constants]
