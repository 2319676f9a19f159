"""Nested ONNX graph of all components: one `If` per early exit skips the rest of the network.

    seg0, exit0, If(confidence >= threshold: exit 0, else: seg1, exit1, If(…: exit 1, else: …))

`If` takes one branch for the whole batch, so the batch is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from eetool.graphs.onnx_rename import rename_tensors

LOGITS, EXIT, CONFIDENCE = OUTPUTS = ("logits", "exit", "confidence")
# Readers of protocol buffers refuse more than 100 nested messages; every `If` adds three.
MAX_EARLY_EXITS = 30


def threshold_name(index: int) -> str:
    """Return the name of the threshold of early exit `index`, a float32 scalar input of every call."""
    return f"exit{index}_threshold"


@dataclass(frozen=True)
class ConditionalStage:
    """Graphs between two exits, the later exit included, in running order, and the names of its tensors."""

    graphs: tuple[GraphProto, ...]
    logits: str
    confidence: str


def prefix_names(graph: GraphProto, name: str, shared: frozenset[str], bound: dict[str, TensorProto]) -> GraphProto:
    """Return a copy of `graph` in which all names except those in `shared` begin with `name/`.

    Inputs with a value in `bound` become constants.
    """
    copy = GraphProto()
    copy.CopyFrom(graph)
    del copy.value_info[:]
    for i in reversed(range(len(copy.input))):
        if copy.input[i].name in bound:
            copy.initializer.append(bound[copy.input[i].name])
            del copy.input[i]
    rename_tensors(copy, lambda tensor: tensor if tensor in shared else f"{name}/{tensor}")
    return copy


def nest_stages(stages: Sequence[ConditionalStage], inputs: Sequence[ValueInfoProto], classes: int) -> GraphProto:
    """Return one graph with the outputs `logits` (1, classes), `exit` int64 (1,) and `confidence` (1,).

    It reads `inputs` and the threshold of every early exit. An input leaves at an exit if its confidence there is at
    least the threshold.
    """
    thresholds = [
        helper.make_tensor_value_info(threshold_name(i), TensorProto.FLOAT, []) for i in range(len(stages) - 1)
    ]
    return _from_exit(0, stages, [*inputs, *thresholds], classes, "")


def _from_exit(
    index: int, stages: Sequence[ConditionalStage], inputs: Sequence[ValueInfoProto], classes: int, prefix: str
) -> GraphProto:
    """Return the cascade from exit `index` on, with `prefix` before the names of its outputs."""
    stage = stages[index]
    nodes = [node for graph in stage.graphs for node in graph.node]
    weights = [weight for graph in stage.graphs for weight in graph.initializer]
    sparse = [weight for graph in stage.graphs for weight in graph.sparse_initializer]
    if index == len(stages) - 1:
        nodes += _leave(index, stage, prefix)
    else:
        here, deeper = f"exit{index}/leave/", f"exit{index}/go_on/"
        leave = helper.make_graph(_leave(index, stage, here), f"exit{index}_leave", [], _outputs(here, classes))
        go_on = _from_exit(index + 1, stages, [], classes, deeper)
        fires = f"exit{index}/fires"
        nodes.append(
            helper.make_node("GreaterOrEqual", [stage.confidence, threshold_name(index)], [fires], f"exit{index}/gate")
        )
        ends = [prefix + name for name in OUTPUTS]
        nodes.append(helper.make_node("If", [fires], ends, f"exit{index}/if", then_branch=leave, else_branch=go_on))
    outputs = _outputs(prefix, classes)
    return helper.make_graph(nodes, f"from_exit{index}", inputs, outputs, weights, sparse_initializer=sparse)


def _leave(index: int, stage: ConditionalStage, prefix: str) -> list[NodeProto]:
    """Return the output nodes of an exit. `Identity` is needed: a branch of `If` cannot return an outer tensor."""
    return [
        helper.make_node("Identity", [stage.logits], [prefix + LOGITS], f"exit{index}/{LOGITS}"),
        helper.make_node("Constant", [], [prefix + EXIT], f"exit{index}/{EXIT}", value_ints=[index]),
        helper.make_node("Identity", [stage.confidence], [prefix + CONFIDENCE], f"exit{index}/{CONFIDENCE}"),
    ]


def _outputs(prefix: str, classes: int) -> list[ValueInfoProto]:
    return [
        helper.make_tensor_value_info(prefix + LOGITS, TensorProto.FLOAT, [1, classes]),
        helper.make_tensor_value_info(prefix + EXIT, TensorProto.INT64, [1]),
        helper.make_tensor_value_info(prefix + CONFIDENCE, TensorProto.FLOAT, [1]),
    ]
