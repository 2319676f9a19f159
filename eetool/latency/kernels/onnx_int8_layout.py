"""Layout of int8 graphs in ONNX Runtime: quantised convolutions keep their tensors with channels last.

The rules come from onnxruntime 1.32, as in `onnx_fusion.py`. A transposition converts a tensor for the first such
convolution, and back for an operator without support for this layout. Elementwise operators support it, and so do
int8 sums, poolings and concatenations.
"""

from collections.abc import Sequence

from eetool.graphs.onnx_graph import GraphNode, SizedGraph
from eetool.latency.kernels.onnx_fusion import FusedStep

_ENTERS = ("Conv",)
_PASSES = (
    "Add",
    "Mul",
    "Concat",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Sigmoid",
    "LeakyRelu",
    "Split",
    "Slice",
)
_ANY = (
    "QuantizeLinear",
    "DequantizeLinear",
    "HardSigmoid",
    "HardSwish",
    "Relu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "Elu",
    "Resize",
    "Pad",
)


def insert_layout_changes(graph: SizedGraph, steps: Sequence[FusedStep]) -> list[FusedStep]:
    """Return the steps with the transpositions that the runtime inserts; there are none without int8 steps."""
    last: set[str] = set()  # tensors with channels last
    entered: set[str] = set()
    left: set[str] = set()
    result: list[FusedStep] = []
    for step in steps:
        inside = [name for name in step.reads if name in last]
        enters = step.int8 and step.node.op in _ENTERS and len(graph.shapes.get(step.written, ())) == 4
        passes = len(inside) == len(step.reads) > 0 and (
            step.node.op in _ANY or (step.int8 and step.node.op in _PASSES) or _keeps_axes(step)
        )
        if enters:
            outside = [name for name in step.reads if name not in last and name not in entered]
            result += [_transposed(name) for name in outside]
            entered.update(outside)
        elif not passes:
            result += [_transposed(name) for name in inside if name not in left]
            left.update(inside)
        if enters or passes:
            last.update((step.output, *step.others))
        result.append(step)
    return result + [_transposed(name) for name in graph.outputs if name in last and name not in left]


def _keeps_axes(step: FusedStep) -> bool:
    """Return whether a mean keeps its axes, so that it works in both layouts."""
    return step.node.op == "ReduceMean" and bool(step.node.attributes.get("keepdims", 1))


def _transposed(tensor: str) -> FusedStep:
    node = GraphNode("Transpose", f"{tensor} Transpose", [tensor], [tensor], {})
    return FusedStep(node, ["Transpose"], [tensor], tensor, int8=True)
