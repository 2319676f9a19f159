"""Component graphs of a network, recorded from one forward pass in milliseconds, where an export takes seconds.

Operators are recorded under their ONNX names with their sizes. They are assigned to components by the exporter's rule
(docs/decisions/0001): a node that one exit alone needs belongs to that exit, and a node that several exits need to the
segment of the shallowest. Kernels are detected in these graphs as in files (`eetool.latency.kernels`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.graphs.onnx_graph import GraphNode, SizedGraph
from eetool.model.dataflow import without_fused_layers
from eetool.model.scored_network import ScoredNetwork

Attributes = dict[str, Any]


class UnknownOperatorError(Exception):
    """Operator without a known ONNX form: only an export shows the kernels of this network."""


@dataclass(frozen=True)
class RecordedGraphs:
    """Component graphs in running order, `seg0`, `exit0`, …; the final exit holds the tail of the backbone.

    Attributes:
        owners: name of the component that computes the logits of each exit.
        peak_memory_bytes: most bytes that weights and live activations occupy together, at batch 1 in fp32.
    """

    graphs: dict[str, SizedGraph]
    owners: tuple[str, ...]
    peak_memory_bytes: int


def record_graphs(network: ScoredNetwork, inputs: tuple[Tensor, ...]) -> RecordedGraphs:
    """Record one forward pass of an early-exit network in eval mode; `inputs` are of batch 1.

    Raises:
        UnknownOperatorError: an operator has no known ONNX form.
    """
    scalars = tuple(torch.ones(()) for _ in range(network.scalars * network.n_exits))
    recorder = _Recorder((*inputs, *scalars))
    with torch.no_grad(), without_fused_layers(), recorder:
        outputs = network(*inputs, *scalars)
    ends = [recorder.name(tensor) for tensor in outputs]
    exits = [ends[2 * i : 2 * i + 2] for i in range(network.n_exits)]
    owners = _owners(recorder, exits)
    weights = sum(x.numel() * x.element_size() for x in network.parameters())
    return RecordedGraphs(
        _components(recorder, exits, owners),
        tuple(owners[logits] for logits, _ in exits),
        weights + _peak(recorder, ends),
    )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of every operator that depends on an input. It keeps tensors alive, so that no id is used twice."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[GraphNode] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.constants: set[str] = set()
        self._names: dict[int, str] = {}
        self._makers: dict[str, GraphNode] = {}
        self._alive: list[Tensor] = []
        self.inputs = [self._give_name(tensor, f"input{i}") for i, tensor in enumerate(inputs)]

    def name(self, tensor: Tensor) -> str:
        """Return the name of a tensor that depends on the inputs."""
        return self._names[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        read = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(id(x) in self._names for x in read):
            result = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
            if isinstance(result, Tensor) and (func._schema.is_mutable or id(result) not in self._names):
                self._record(func, args, kwargs or {}, result)
        return outputs

    def _record(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        operator = func._overloadpacket.__name__
        if func._schema.is_mutable:  # in place, such as `relu_`: the tensor gets another name from here on
            operator = operator.removesuffix("_")
        form = _FORMS.get(operator)
        if form is None:
            raise UnknownOperatorError(operator)
        op, tensors, attributes = form(args, kwargs)
        inputs, shape = [self._operand(x) for x in tensors], tuple(result.shape)
        before = self._makers.get(inputs[0])
        if before is not None:
            if op == before.op == "Slice":  # exporters cut all sides at once
                inputs = before.inputs
            elif op in _POOLS and before.op == "Reshape" and self._adds_row(before):
                inputs, shape = before.inputs, (*shape[:2], shape[3])
            elif op == "Reshape" and before.op in _POOLS and self.shapes[inputs[0]] == shape:
                op = "Identity"
        output = self._give_name(result, f"t{len(self.nodes)}")
        self.shapes[output] = shape
        self.nodes.append(GraphNode(op, output, inputs, [output], attributes))
        self._makers[output] = self.nodes[-1]

    def _adds_row(self, view: GraphNode) -> bool:
        """Return whether a view makes images of one row: torch pools over time in this way, and exporters do not."""
        before = self.shapes[view.inputs[0]]
        return len(before) == 3 and self.shapes[view.output] == (*before[:2], 1, before[2])

    def _operand(self, x: Any) -> str:
        """Return the name of an operand: a tensor of data, or a constant (a weight or a number)."""
        if not isinstance(x, Tensor):
            x = torch.tensor(x)
        if id(x) not in self._names:
            name = f"w{len(self.constants)}"
            self.constants.add(name)
            self.shapes[name] = tuple(x.shape)
            return name
        return self._names[id(x)]

    def _give_name(self, tensor: Tensor, name: str) -> str:
        self._alive.append(tensor)
        self._names[id(tensor)] = name
        self.shapes[name] = tuple(tensor.shape)
        return name


def _owners(recorder: _Recorder, exits: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the component of every tensor; a tensor that no exit needs has none.

    An exit reads the outputs of another exit by name, so that their nodes stay with that other exit.
    """
    makers = {node.output: node for node in recorder.nodes}
    ends = {tensor for outputs in exits for tensor in outputs}
    needed_by: dict[str, set[int]] = {}
    for i, outputs in enumerate(exits):
        waiting = list(outputs)
        while waiting:
            tensor = waiting.pop()
            foreign = tensor in ends and tensor not in outputs
            if tensor in makers and not foreign and i not in needed_by.setdefault(tensor, set()):
                needed_by[tensor].add(i)
                waiting.extend(makers[tensor].inputs)
    return {
        tensor: f"exit{min(indices)}" if len(indices) == 1 else f"seg{min(indices)}"
        for tensor, indices in needed_by.items()
    }


def _components(
    recorder: _Recorder, exits: Sequence[Sequence[str]], owners: Mapping[str, str]
) -> dict[str, SizedGraph]:
    """Return one graph per component."""
    ends = {tensor for outputs in exits for tensor in outputs}
    graphs = {}
    for name in [component for i in range(len(exits)) for component in (f"seg{i}", f"exit{i}")]:
        nodes = [node for node in recorder.nodes if owners.get(node.output) == name]
        if nodes:
            made = {node.output for node in nodes}
            read = {x for node in nodes for x in node.inputs if x not in made and x not in recorder.constants}
            read_elsewhere = {x for node in recorder.nodes if owners.get(node.output) != name for x in node.inputs}
            graphs[name] = SizedGraph(
                nodes,
                tuple(sorted(read)),
                tuple(sorted(made & (read_elsewhere | ends))),
                recorder.shapes,
                frozenset(recorder.constants),
            )
    return graphs


def _peak(recorder: _Recorder, kept: Sequence[str]) -> int:
    """Return the most bytes of activations alive at once, where each is freed after its last read."""
    last = {name: i for i, node in enumerate(recorder.nodes) for name in node.inputs}
    last.update(dict.fromkeys(kept, len(recorder.nodes)))
    alive = sum(_bytes(recorder.shapes[name]) for name in recorder.inputs)
    peak = alive
    for i, node in enumerate(recorder.nodes):
        if node.op in _VIEWS:
            continue
        alive += _bytes(recorder.shapes[node.output])
        peak = max(peak, alive)
        done = {name for name in node.inputs if last.get(name) == i and name not in recorder.constants}
        alive -= sum(_bytes(recorder.shapes[name]) for name in done)
    return peak


def _bytes(shape: tuple[int, ...]) -> int:
    count = 4
    for size in shape:
        count *= size
    return count


# ONNX form of an operator of torch: its ONNX name, its operands, and the attributes that its cost depends on.
_Form = Callable[[Sequence[Any], Mapping[str, Any]], tuple[str, list[Any], Attributes]]


def _plain(op: str, count: int = 1) -> _Form:
    """Return a form whose operands are the first `count` arguments: tensors, numbers or axes."""
    return lambda args, kwargs: (op, list(args[:count]), {})


def _indexing(op: str) -> _Form:
    """Return a form that keeps the indices: two parts of one tensor are not the same operator."""
    return lambda args, kwargs: (op, [args[0]], {"indices": [int(index) for index in args[1:]]})


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any], Attributes]:
    x, weight, bias, strides, pads, dilations, transposed, _, groups = args
    if transposed or x.ndim not in (3, 4):
        raise UnknownOperatorError("convolution")
    shape = {"strides": list(strides), "pads": list(pads), "dilations": list(dilations), "group": groups}
    return "Conv", [tensor for tensor in (x, weight, bias) if tensor is not None], shape


def _pooling(op: str) -> _Form:
    def form(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any], Attributes]:
        kernel = list(args[1]) * (2 if len(args[1]) == 1 else 1)
        strides = list(args[2]) if len(args) > 2 and args[2] else kernel
        place = 5 if op == "MaxPool" else 4
        rounds_up = args[place] if len(args) > place else False
        return op, [args[0]], {"kernel_shape": kernel, "strides": strides, "ceil_mode": int(rounds_up)}

    return form


def _addmm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any], Attributes]:
    bias, x, weight = args[:3]
    return "Gemm", [x, weight, bias], {}


def _softmax(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any], Attributes]:
    return "Softmax", [args[0]], {"axis": int(args[1])}


def _concat(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any], Attributes]:
    return "Concat", list(args[0]), {"axis": int(args[1]) if len(args) > 1 else 0}


_VIEWS, _POOLS = ("Reshape", "Identity"), ("MaxPool", "AveragePool")
_FORMS: dict[str, _Form] = {
    "convolution": _convolution,
    "addmm": _addmm,
    "mm": _plain("MatMul", 2),
    "max_pool2d_with_indices": _pooling("MaxPool"),
    "avg_pool2d": _pooling("AveragePool"),
    "_softmax": _softmax,
    "_log_softmax": lambda args, kwargs: ("LogSoftmax", [args[0]], {"axis": int(args[1])}),
    "cat": _concat,
    "native_batch_norm": _plain("BatchNormalization", 5),
    "_native_batch_norm_legit_no_training": _plain("BatchNormalization", 5),
    "native_layer_norm": _plain("LayerNormalization"),
    "relu": _plain("Relu"),
    "hardtanh": _plain("Clip"),
    "clamp": _plain("Clip"),
    "clamp_min": _plain("Clip"),
    "hardswish": _plain("HardSwish"),
    "hardsigmoid": _plain("HardSigmoid"),
    "sigmoid": _plain("Sigmoid"),
    "silu": _plain("Swish"),
    "gelu": _plain("Gelu"),
    "exp": _plain("Exp"),
    "tanh": _plain("Tanh"),
    "add": _plain("Add", 2),
    "sub": _plain("Sub", 2),
    "rsub": _plain("Sub", 2),
    "mul": _plain("Mul", 2),
    "div": _plain("Div", 2),
    "mean": _plain("ReduceMean", 2),
    "sum": _plain("ReduceSum", 2),
    "amax": _plain("ReduceMax", 2),
    "topk": _plain("TopK", 2),
    "upsample_bilinear2d": _plain("Resize"),
    "constant_pad_nd": _plain("Pad"),
    "slice": _indexing("Slice"),
    "select": _indexing("Gather"),
    "permute": lambda args, kwargs: ("Transpose", [args[0]], {"perm": list(args[1])}),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand"), _plain("Reshape")),
    **dict.fromkeys(("alias", "detach", "clone", "_to_copy"), _plain("Identity")),
}
