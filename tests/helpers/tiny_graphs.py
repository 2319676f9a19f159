"""Graphs of the tiny bundle, as ONNX text."""

from __future__ import annotations

import numpy as np
import onnx.parser

from eetool_runtime.manifest import Component, Tensor

CLASSES = 4


class Part:
    """One graph as text: its inputs, constants, nodes and outputs."""

    def __init__(self, name: str, kind: str, inputs: list[str], outputs: list[str], nodes: str) -> None:
        self.name = name
        self.kind = kind
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = nodes
        self.macs = self.parameters = 0

    def component(self) -> Component:
        return Component(self.name, self.kind, tuple(self.inputs), tuple(self.outputs), self.macs, self.parameters)

    def graph(self, tensors: dict[str, Tensor]) -> bytes:
        reads = ", ".join(_typed(n, tensors) for n in self.inputs)
        makes = ", ".join(_typed(n, tensors) for n in self.outputs)
        text = f'<ir_version: 8, opset_import: ["" : 18]>\n{self.name} ({reads}) => ({makes}) {{\n{self.nodes}}}'
        model: bytes = onnx.parser.parse_model(text).SerializeToString(deterministic=True)
        return model


def make_parts(early_exits: int, chained: bool, ids: bool) -> list[Part]:
    """Return segments and exits in execution order."""
    parts = []
    for k in range(early_exits + 1):
        if k < early_exits:
            parts.append(_segment(k, ids))
        parts.append(_exit(k, early_exits, chained))
    return parts


def _segment(k: int, ids: bool) -> Part:
    reads = "input" if k == 0 else f"features{k - 1}"
    part = Part(f"seg{k}", "segment", [reads], [f"features{k}"], "")
    part.nodes = f"""
        weight_s{k} = Constant <value = float[1,1,3,3] {{0, 0, 0, 0, 2, 0, 0, 0, 0}}> ()
        conv{k} = Conv <pads = [1, 1, 1, 1]> ({reads}, weight_s{k})
        {"relu0" if k == 0 and ids else f"features{k}"} = Relu (conv{k})
    """
    if k == 0 and ids:
        part.inputs.append("ids")
        part.nodes += """
        numbers = Cast <to = 1> (ids)
        tokens_axis = Constant <value = int64[1] {1}> ()
        most = ReduceMax <keepdims = 1> (numbers, tokens_axis)
        image_axes = Constant <value = int64[2] {2, 3}> ()
        factor = Unsqueeze (most, image_axes)
        features0 = Mul (relu0, factor)
        """
    part.macs, part.parameters = 4 * 4 * 9, 9
    return part


def _exit(k: int, early_exits: int, chained: bool) -> Part:
    """Return exit `k`; the last one also holds the end of the backbone, here one more doubling."""
    last = k == early_exits
    reads = f"features{k - 1 if last else k}" if early_exits else "input"
    part = Part(f"exit{k}", "exit", [reads, f"exit{k}_temperature"], [f"exit{k}_logits", f"exit{k}_confidence"], "")
    weight = np.diag(sight_of(k, early_exits) * (2 if last else 1)).astype(int)
    own = f"own{k}" if chained and k > 0 else f"exit{k}_logits"
    part.nodes = f"""
        pooled_axes{k} = Constant <value = int64[2] {{1, 3}}> ()
        positive{k} = Relu ({reads})
        rows{k} = ReduceMean <keepdims = 0> (positive{k}, pooled_axes{k})
        weight_e{k} = Constant <value = float[4,4] {{{", ".join(str(w) for w in weight.ravel())}}}> ()
        {own} = MatMul (rows{k}, weight_e{k})
    """
    if chained and k > 0:
        part.inputs.append(f"exit{k - 1}_logits")
        part.nodes += f"exit{k}_logits = Add (own{k}, exit{k - 1}_logits)\n"
    part.nodes += f"""
        scaled{k} = Div (exit{k}_logits, exit{k}_temperature)
        softmax{k} = Softmax <axis = 1> (scaled{k})
        class_axis{k} = Constant <value = int64[1] {{1}}> ()
        exit{k}_confidence = ReduceMax <keepdims = 0> (softmax{k}, class_axis{k})
    """
    part.macs = part.parameters = CLASSES * CLASSES
    return part


def join(parts: list[Part]) -> list[Part]:
    """Return the graphs with each exit joined to its segment."""
    joined, segments = [], iter(parts[:-1])
    for index, (segment, branch) in enumerate(zip(segments, segments)):
        part = Part(
            f"joined{index}",
            "joined",
            segment.inputs + [n for n in branch.inputs if n not in segment.outputs],
            segment.outputs + branch.outputs,
            segment.nodes + branch.nodes,
        )
        part.macs, part.parameters = segment.macs + branch.macs, segment.parameters + branch.parameters
        joined.append(part)
    return [*joined, parts[-1]]


def make_references(parts: list[Part], early_exits: int) -> dict[str, bytes]:
    """Return `all_exits`, one graph with the outputs of all components, and `unsplit`, the backbone alone."""
    tensors = tensor_types(early_exits)
    produced = [n for p in parts for n in p.outputs]
    reads = list(dict.fromkeys(n for p in parts for n in p.inputs if n not in produced))
    answers = [n for n in produced if n.startswith("exit")]
    all_exits = Part("all_exits", "reference", reads, answers, "".join(p.nodes for p in parts))
    logits = f"exit{early_exits}_logits"
    kept = [p for p in parts if p.kind == "segment"] + [_exit(early_exits, early_exits, chained=False)]
    nodes = "".join(p.nodes for p in kept).split(f"scaled{early_exits} =")[0].replace(logits, "logits")
    reads = [n for n in reads if not n.endswith("_temperature")]
    unsplit = Part("unsplit", "reference", reads, ["logits"], nodes)
    return {
        "unsplit": unsplit.graph({**tensors, "logits": tensors[logits]}),
        "all_exits": all_exits.graph(tensors),
    }


def sight_of(k: int, early_exits: int) -> np.ndarray:
    """Return float32 (classes,): 1 for the rows that exit `k` can detect, else 0."""
    sight = np.ones(CLASSES, np.float32)
    if k == 0 and early_exits:
        sight[-1] = 0
    return sight


def tensor_types(early_exits: int) -> dict[str, Tensor]:
    """Return the type of every tensor, including inputs and temperatures."""
    known = {"input": Tensor("float32", ("batch", 1, 4, 4)), "ids": Tensor("int64", ("batch", "tokens"))}
    for k in range(early_exits + 1):
        known[f"features{k}"] = Tensor("float32", ("batch", 1, 4, 4))
        known[f"exit{k}_temperature"] = Tensor("float32", ())
        known[f"exit{k}_logits"] = Tensor("float32", ("batch", CLASSES))
        known[f"exit{k}_confidence"] = Tensor("float32", ("batch",))
    return known


def _typed(name: str, tensors: dict[str, Tensor]) -> str:
    dtype = {"float32": "float", "int64": "int64"}[tensors[name].dtype]
    shape = ", ".join(str(size) for size in tensors[name].shape)
    return f"{dtype}[{shape}] {name}" if shape else f"{dtype} {name}"
