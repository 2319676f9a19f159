"""Graph optimisations of ONNX Runtime: operator fusion, and tensors in blocks of channels.

The rules come from comparisons with the `optimized_model_filepath` output of onnxruntime 1.32.

Fusion: batch normalisation, padding, and a factor or sum per channel are fused into a convolution, an activation into a
convolution or Gemm, a scale into a matrix product. Where no size is symbolic, the bias after a product with constant
weights is fused into it.

Blocks: CPUs with vector units of 256 bits or more keep tensors in blocks of 8 or 16 channels. This holds for
convolutions, poolings and the operators between them. A reorder kernel converts a tensor between blocks and the plain
layout. A sum is fused into a convolution only if both of its terms are in blocks.
"""

from dataclasses import dataclass, field

from eetool.graphs.onnx_graph import GraphNode, SizedGraph, data_inputs

ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSigmoid", "HardSwish")
_LATE_ACTIVATIONS = ("Relu", "Sigmoid", "Tanh")  # fused into a convolution together with a sum
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_INPUT_ALIGNMENT = 4  # a convolution's input channels must be a multiple of this to be put into blocks
INTO_BLOCKS, OUT_OF_BLOCKS = "ReorderInput", "ReorderOutput"
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# Operators with int8 kernels. Others in a quantised graph, such as padding and means over axes, stay float.
_IN_INT8 = (
    *("Conv", "MatMul", "Gemm", "Add", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Softmax"),
    *("Sigmoid", "LeakyRelu", "Reshape", "Transpose", "Flatten", "Slice", "Squeeze", "Unsqueeze", "Gather", "Split"),
)


@dataclass
class FusedStep:
    """A node and the operators fused into it.

    Attributes:
        node: main node.
        ops: operators, in order.
        reads: data tensors that the step reads.
        output: output of the last operator.
        activation: whether an activation is fused.
        added: whether a sum is fused.
        int8: whether the step runs in int8.
        blocked: whether the step works on blocks of channels.
        written: output of the main node, whose shape gives the sizes.
        others: further outputs of the main node, such as those of a split.
    """

    node: GraphNode
    ops: list[str]
    reads: list[str]
    output: str
    activation: bool = False
    added: bool = False
    int8: bool = False
    blocked: bool = False
    written: str = field(default="")
    others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.written = self.written or self.output
        self.others = list(self.node.outputs[1:])


def fuse_graph(graph: SizedGraph, channel_block: int = 1, sums: bool = True) -> list[FusedStep]:
    """Return the steps that the runtime runs for a graph.

    Args:
        graph: the graph.
        channel_block: channels per block for tensors of convolutions; 1 for the plain layout.
        sums: whether a sum is fused into the convolution before it; LiteRT does not do so.
    """
    steps = _fuse_int8(graph, _fuse_nodes(graph))
    if channel_block > 1:
        steps = _use_blocks(graph, steps, channel_block)
    return _fuse_sums(graph, steps) if sums else steps


def _fuse_nodes(graph: SizedGraph) -> list[FusedStep]:
    """Apply the fusions that do not depend on the CPU."""
    steps: list[FusedStep] = []
    by_output: dict[str, FusedStep] = {}
    uses = _use_counts(graph)
    for node in graph.nodes:
        reads = data_inputs(node, graph.constants)
        before = by_output.get(reads[0]) if reads and uses[reads[0]] == 1 else None
        if before is not None and _fuses_into(node, before, graph):
            before.ops.append(node.op)
            before.activation |= node.op in ACTIVATIONS
            before.output = node.output
            by_output[before.output] = before
            continue
        step = FusedStep(node, [node.op], list(reads), node.output)
        for index, name in enumerate(reads):
            earlier = by_output.get(name) if uses[name] == 1 else None
            if earlier is not None and _fuses_forward(earlier, step, graph):
                steps.remove(earlier)
                step.ops, step.reads[index] = [*earlier.ops, *step.ops], earlier.reads[0]
        steps.append(step)
        by_output[step.output] = step
    return steps


def _fuses_into(node: GraphNode, before: FusedStep, graph: SizedGraph) -> bool:
    """Return whether `node` is fused into the step that computes its input."""
    if node.op in ("Dropout", "Identity"):
        return True
    kind = before.node.op
    if node.op == "BatchNormalization":
        return kind == "Conv" and before.ops[-1] in ("Conv", "Pad") and before.output == before.written
    if node.op in ("Mul", "Add") and kind == "Conv" and before.ops[-1] == "Conv" and before.output == before.written:
        return node.inputs[0] == before.output and _is_per_channel(node.inputs[1], before.written, graph)
    only_constants = all(not name or name in graph.constants for name in node.inputs[1:])
    if node.op == "Add" and kind == "MatMul":
        return graph.fixed_batch and before.ops == ["MatMul"] and _is_bias(node, before, graph)
    if node.op in ACTIVATIONS and only_constants and not before.activation:
        product = kind == "Gemm" or (before.ops == ["MatMul", "Add"] and len(graph.shapes.get(node.output, ())) == 2)
        return kind == "Conv" or (product and node.op != "Clip" and node.op != "HardSwish")
    return False


def _is_bias(node: GraphNode, product: FusedStep, graph: SizedGraph) -> bool:
    """Return whether a sum adds a constant per column to a product with constant weights."""
    weights = product.node.inputs[1]
    bias = [name for name in node.inputs if name in graph.constants]
    if weights not in graph.constants or len(graph.shapes.get(weights, ())) != 2 or len(bias) != 1:
        return False
    return graph.shapes.get(bias[0]) == graph.shapes[weights][1:]


def _fuses_forward(before: FusedStep, step: FusedStep, graph: SizedGraph) -> bool:
    """Return whether the preceding step is fused into this one: padding of a convolution, scale of a product."""
    if step.node.op == "Conv":
        return (
            before.node.op == "Pad"
            and before.node.attributes.get("mode", b"constant") == b"constant"
            and (_pads_sides_only(before, graph))
        )
    if step.node.op == "MatMul" and before.node.op in ("Mul", "Div"):
        scale = [name for name in before.node.inputs if name in graph.constants]
        return len(scale) == 1 and graph.size(scale[0]) == 1
    return False


def _pads_sides_only(pad: FusedStep, graph: SizedGraph) -> bool:
    before, after = graph.shapes.get(pad.reads[0]), graph.shapes.get(pad.output)
    return before is not None and after is not None and before[:2] == after[:2]


def _fuse_int8(graph: SizedGraph, steps: list[FusedStep]) -> list[FusedStep]:
    """Fuse DequantizeLinear, operator and QuantizeLinear into one int8 step, as the runtime's QDQ fusion does."""
    makers = {step.output: step for step in steps if step.node.op == _DEQUANTIZE}
    if not makers:
        return steps
    counts = _read_counts(steps, graph)
    readers = {name: step for step in steps for name in step.reads}
    fused: set[int] = set()
    for step in steps:
        if step.node.op not in _IN_INT8 or not step.reads or not all(r in makers for r in step.reads):
            continue
        after = readers.get(step.output)
        if after is not None and after.node.op in ACTIVATIONS and counts[step.output] == 1:
            clip, after = after, readers.get(after.output)
        else:
            clip = None
        if after is None or after.node.op != _QUANTIZE or counts[clip.output if clip else step.output] != 1:
            continue
        if not all(_is_quantised(readers.get(name), counts.get(name, 0)) for name in step.others):
            continue
        rest = [readers[name] for name in step.others]
        step.int8, step.activation = True, step.activation or clip is not None
        step.reads = [makers[name].reads[0] for name in step.reads]
        step.ops += [part.node.op for part in (clip, after) if part]
        step.output, step.others = after.output, [part.output for part in rest]
        fused.update(id(part) for part in (clip, after, *rest) if part)
    left = [step for step in steps if id(step) not in fused]
    wanted = {name for step in left for name in step.reads} | set(graph.outputs)
    return [step for step in left if step.node.op != _DEQUANTIZE or step.output in wanted]


def _is_quantised(reader: FusedStep | None, count: int) -> bool:
    return reader is not None and reader.node.op == _QUANTIZE and count == 1


def _fuse_sums(graph: SizedGraph, steps: list[FusedStep]) -> list[FusedStep]:
    """Fuse convolution, Add and activation where tensors are in the plain layout."""
    counts = _read_counts(steps, graph)
    by_output = {step.output: step for step in steps if not step.blocked}
    kept: list[FusedStep] = []
    for step in steps:
        conv = None if step.blocked else _fusable_conv(step, by_output, counts, graph)
        if conv is None:
            late = by_output.get(step.reads[0]) if step.node.op in ACTIVATIONS and not step.blocked else None
            if late is not None and late.added and not late.activation and counts[step.reads[0]] == 1:
                late.activation, late.output = True, step.output
                late.ops.append(step.node.op)
                by_output[step.output] = late
            else:
                kept.append(step)
            continue
        kept.remove(conv)
        _fuse_sum(conv, step)
        kept.append(conv)  # moved behind the computation of the other term
        by_output[conv.output] = conv
    return kept


def _fusable_conv(
    step: FusedStep, by_output: dict[str, FusedStep], counts: dict[str, int], graph: SizedGraph
) -> FusedStep | None:
    """Return the convolution that this sum can be fused into, or None.

    Its output must be read once, without further fusion, and both terms must have equal sizes.
    """
    if step.node.op != "Add" or len(step.reads) != 2 or step.int8:
        return None
    if graph.shapes.get(step.reads[0]) != graph.shapes.get(step.reads[1]):
        return None
    for name in step.reads:
        conv = by_output.get(name)
        free = conv is not None and conv.node.op == "Conv" and not conv.activation and not conv.added and not conv.int8
        if free and counts[name] == 1:
            return conv
    return None


def _fuse_sum(conv: FusedStep, total: FusedStep) -> None:
    conv.reads += [name for name in total.reads if name != conv.output]
    conv.added, conv.output = True, total.output
    conv.ops.append("Add")


def _use_blocks(graph: SizedGraph, steps: list[FusedStep], block: int) -> list[FusedStep]:
    """Mark the steps that work on blocks, and insert reorders where tensors enter and leave blocks."""
    counts = _read_counts(steps, graph)
    makers: dict[str, FusedStep] = {}  # of tensors in blocks
    entered: set[str] = set()
    left: set[str] = set()
    result: list[FusedStep] = []
    for step in steps:
        inside = [name for name in step.reads if name in makers]
        if _fuse_in_blocks(step, makers, counts, graph, result):
            continue
        if _works_in_blocks(step, graph, block, len(inside) == len(step.reads) > 0):
            if _reads_plain_input(step, graph, block):
                result += [_reorder(name, OUT_OF_BLOCKS) for name in inside if name not in left]
                left.update(inside)
            else:
                plain = [name for name in step.reads if name not in makers and name not in entered]
                result += [_reorder(name, INTO_BLOCKS) for name in plain]
                entered.update(plain)
            step.blocked = True
            makers[step.output] = step
        elif _leaves_channels_last(step, inside, counts):
            result.append(_reorder(inside[0], OUT_OF_BLOCKS))
            continue
        else:
            result += [_reorder(name, OUT_OF_BLOCKS) for name in inside if name not in left]
            left.update(inside)
        result.append(step)
    return result + [_reorder(name, OUT_OF_BLOCKS) for name in graph.outputs if name in makers and name not in left]


def _leaves_channels_last(step: FusedStep, inside: list[str], counts: dict[str, int]) -> bool:
    """Return whether a transposition to channels last is part of the reorder out of blocks before it."""
    last = step.node.op == "Transpose" and list(step.node.attributes.get("perm", ())) == [0, 2, 3, 1]
    return last and len(inside) == 1 and counts[inside[0]] == 1


def _fuse_in_blocks(
    step: FusedStep, makers: dict[str, FusedStep], counts: dict[str, int], graph: SizedGraph, result: list[FusedStep]
) -> bool:
    """Fuse a sum or an activation into the convolution in blocks before it; return whether that was possible."""
    if not step.reads or not all(name in makers for name in step.reads):
        return False
    conv = _fusable_conv(step, makers, counts, graph)
    if conv is not None:
        result.remove(conv)
        _fuse_sum(conv, step)
        result.append(conv)
        makers[conv.output] = conv
        return True
    before = makers[step.reads[0]]
    late = step.node.op in _LATE_ACTIVATIONS and before.node.op in ("Conv", "BatchNormalization")
    if late and not before.activation and counts[step.reads[0]] == 1:
        before.activation, before.output = True, step.output
        before.ops.append(step.node.op)
        makers[step.output] = before
        return True
    return False


def _works_in_blocks(step: FusedStep, graph: SizedGraph, block: int, inside: bool) -> bool:
    """Return whether the step works on blocks; `inside` means that all its inputs are in blocks."""
    node, channels = step.node, graph.shapes.get(step.reads[0] if step.reads else "", (0, 0))[1:2]
    if step.int8 or not channels or len(graph.shapes.get(step.written, ())) != 4:
        return False
    if node.op == "Conv":
        return _conv_in_blocks(step, graph, block)
    if node.op in _POOLS:
        rounds_up = node.op == "AveragePool" and node.attributes.get("ceil_mode", 0)
        enters = inside or not node.op.startswith("Global")
        return enters and channels[0] % block == 0 and not rounds_up and len(node.outputs) == 1
    if is_channel_scale(step, graph):
        return inside
    if node.op in ("Add", "Mul"):
        return inside and len({graph.shapes.get(name) for name in step.reads}) == 1 and len(step.reads) == 2
    if node.op == "Concat":
        sizes = [graph.shapes.get(name, (0, 0))[1] for name in step.reads]
        return inside and node.attributes.get("axis") == 1 and all(size % block == 0 for size in sizes)
    if node.op == "Resize":
        return inside and _grows_whole_times(node, graph)
    return inside and node.op in (*_LATE_ACTIVATIONS, "BatchNormalization")


def is_channel_scale(step: FusedStep, graph: SizedGraph) -> bool:
    """Return whether the step multiplies each channel by a constant; in blocks it runs as batch normalisation does."""
    constants = [name for name in step.node.inputs if name in graph.constants]
    if step.node.op != "Mul" or len(constants) != 1 or len(step.reads) != 1:
        return False
    return _is_per_channel(constants[0], step.reads[0], graph)


def _is_per_channel(constant: str, tensor: str, graph: SizedGraph) -> bool:
    """Return whether a constant has one number for each channel of a tensor: (C, 1, 1) or (1, C, 1, 1)."""
    if constant not in graph.constants:
        return False
    shape, read = graph.shapes.get(constant, ()), graph.shapes.get(tensor, ())
    return len(read) == 4 and shape[-3:] == (read[1], 1, 1) and graph.size(constant) == read[1]


def _grows_whole_times(node: GraphNode, graph: SizedGraph) -> bool:
    """Return whether the resize factors are integers, as the runtime requires in blocks."""
    before, after = graph.shapes.get(node.inputs[0], ()), graph.shapes.get(node.output, ())
    return len(before) == len(after) == 4 and all(
        large % small == 0 for small, large in zip(before, after, strict=True)
    )


def _conv_in_blocks(step: FusedStep, graph: SizedGraph, block: int) -> bool:
    weights = graph.shapes.get(step.node.inputs[1], ())
    if len(weights) != 4 or step.node.inputs[1] not in graph.constants:
        return False
    out, per_group, groups = weights[0], weights[1], step.node.attributes.get("group", 1)
    if groups == 1:
        return per_group < block or per_group % _INPUT_ALIGNMENT == 0
    if per_group == 1 and out == groups:
        return out % _INPUT_ALIGNMENT == 0  # channels are rounded up to whole blocks
    return out % block == 0 and per_group % block == 0 and (out // groups) % block == 0


def _reads_plain_input(step: FusedStep, graph: SizedGraph, block: int) -> bool:
    """Return whether a convolution reads the plain layout because it has few input channels."""
    if step.node.op != "Conv" or step.node.attributes.get("group", 1) != 1:
        return False
    return graph.shapes[step.node.inputs[1]][1] < block


def _reorder(tensor: str, op: str) -> FusedStep:
    return FusedStep(GraphNode(op, f"{tensor} {op}", [tensor], [tensor], {}), [op], [tensor], tensor)


def _use_counts(graph: SizedGraph) -> dict[str, int]:
    counts = {name: len(nodes) for name, nodes in graph.uses().items()}
    for name in graph.outputs:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _read_counts(steps: list[FusedStep], graph: SizedGraph) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(graph.outputs, 1)
    for step in steps:
        for name in step.reads:
            counts[name] = counts.get(name, 0) + 1
    return counts
