"""Part of a TFLite file that computes some of its named tensors from others.

The classes of the schema come with LiteRT (extra `tflite`). Graphs are not run.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from eetool.errors import ArtefactError
from eetool.graphs.tflite_combine import aligned_builder, take_in_weights
from eetool.graphs.tflite_graph import schema


def cut_tflite(path: Path, inputs: Collection[str], outputs: Mapping[str, str]) -> bytes:
    """Return a TFLite file with the operators between `inputs` and `outputs`, and no other weights.

    Args:
        path: a file of one graph with one signature, which names all these tensors.
        inputs: names of tensors that are inputs of the part.
        outputs: names of tensors that it computes, and their names in the part.

    Raises:
        ArtefactError: a tensor cannot be computed from these inputs.
        MissingError: LiteRT is not installed.
    """
    s = schema()
    data = path.read_bytes()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(data))
    take_in_weights(model, data, path)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    places = {e.name.decode(): e.tensorIndex for e in (*signature.inputs, *signature.outputs)}
    reads, writes = [places[name] for name in inputs], [places[name] for name in outputs]
    graph.operators = _operators_between(graph, reads, writes, path)
    used = _used_tensors(graph, reads, writes)
    _renumber_tensors(graph, used)
    graph.inputs, graph.outputs = [used[index] for index in reads], [used[index] for index in writes]
    signature.inputs = _entries(s, zip(inputs, graph.inputs, strict=True))
    signature.outputs = _entries(s, zip(outputs.values(), graph.outputs, strict=True))
    drop_unused_buffers(model)
    _drop_unused_codes(model)
    model.metadata, model.metadataBuffer = None, None
    builder = aligned_builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def drop_unused_buffers(model: Any) -> None:
    """Remove the buffers of the only graph of `model` that no tensor has. The first one stands for none, and stays."""
    (graph,) = model.subgraphs
    used = [0, *sorted({tensor.buffer for tensor in graph.tensors} - {0})]
    model.buffers = [model.buffers[index] for index in used]
    for tensor in graph.tensors:
        tensor.buffer = used.index(tensor.buffer)


def _operators_between(graph: Any, reads: Collection[int], writes: Collection[int], path: Path) -> list[Any]:
    """Return the operators that the tensors `writes` need, in running order, back to the tensors `reads`."""
    makers = {int(index): number for number, operator in enumerate(graph.operators) for index in operator.outputs}
    foreign = {int(index) for index in graph.inputs} - set(reads)
    needed: set[int] = set()
    waiting = list(writes)
    while waiting:
        index = int(waiting.pop())
        if index in foreign:
            raise ArtefactError(f"{path}: a tensor depends on another input than those that it was to be made from")
        if index < 0 or index in reads or index not in makers or makers[index] in needed:
            continue
        needed.add(makers[index])
        waiting += list(graph.operators[makers[index]].inputs)
    return [graph.operators[number] for number in sorted(needed)]


def _used_tensors(graph: Any, reads: Collection[int], writes: Collection[int]) -> dict[int, int]:
    """Return the new places of the tensors that are used, by their old places."""
    used = {*reads, *writes}
    for operator in graph.operators:
        used |= {int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0}
    return {old: new for new, old in enumerate(sorted(used))}


def _renumber_tensors(graph: Any, places: Mapping[int, int]) -> None:
    graph.tensors = [graph.tensors[old] for old in places]
    for operator in graph.operators:
        operator.inputs = [places.get(int(index), -1) for index in operator.inputs]
        operator.outputs = [places[int(index)] for index in operator.outputs]


def _drop_unused_codes(model: Any) -> None:
    (graph,) = model.subgraphs
    used = sorted({operator.opcodeIndex for operator in graph.operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in graph.operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


def _entries(s: Any, pairs: Any) -> list[Any]:
    entries = []
    for name, index in pairs:
        entry = s.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        entries.append(entry)
    return entries
