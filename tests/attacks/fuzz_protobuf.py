"""Seeded fuzzer for the detection of side files: a model must be refused if a parser of ONNX sees one.

    python -m tests.attacks.fuzz_protobuf --runs 1000000

Small models hold a tensor in any of the places that ONNX has for tensors. They are damaged as fields (repeated, moved,
split, wrapped in groups), in the encoding of their numbers, and in bytes. The references are the two parsers of the
`onnx` package, which disagree on some files. The program prints one JSON document, and exits with 1 if a model was
wrongly accepted.
"""

import argparse
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import onnx
import onnx.inliner
import onnx.shape_inference
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper

from eetool_runtime.backends.side_files import onnx_refers

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
_MAX_FOUND = 20  # enough to see what is wrong
_NUMBERS = (0, 1, 2, 3, 5, 6, 7, 10, 11, 13, 14, 15, 16, 20, 22, 23, 25, 31, 100, 2047, (1 << 29) - 1)
_VALUES = (0, 1, 2, 127, 128, 1 << 31, 1 << 32, (1 << 32) + 1, (1 << 63) + 1, (1 << 64) - 1)
_AGAIN = (  # what reads and writes a model in C++, and changes nothing that is looked at
    lambda data: onnx.inliner.C.inline_selected_functions(data, [], False),
    lambda data: onnx.shape_inference.C.infer_shapes(data, False, False, False),
)
_SHAPE = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])


@dataclass
class Field:
    """One field of a message, with the encoding of its numbers: surplus bytes, and bits above the limit."""

    number: int
    kind: int
    value: Any  # int, bytes, or the fields of a message
    longer: tuple[int, int] = (0, 0)  # the tag, and the size or value behind it
    above: tuple[int, int] = (0, 0)


def fields_of(message: Message) -> list[Field]:
    """Return the fields that are set in a message, whose tensors hold no floats."""
    actual = []
    for field, value in message.ListFields():
        single = isinstance(value, (Message, int, str, bytes))
        for item in [value] if single else value:
            if isinstance(item, Message):
                actual.append(Field(field.number, BYTES, fields_of(item)))
            elif isinstance(item, int):
                actual.append(Field(field.number, VARINT, item))
            else:
                actual.append(Field(field.number, BYTES, item.encode() if isinstance(item, str) else item))
    return actual


def written(fields: list[Field]) -> bytes:
    """Return the bytes of a message."""
    data = b""
    for field in fields:
        (tag_longer, longer), (tag_above, above) = field.longer, field.above
        data += _varint(field.number << 3 | field.kind | tag_above << 32, tag_longer)
        inside = written(field.value) if isinstance(field.value, list) else field.value
        if isinstance(inside, int):
            data += _varint((inside & (1 << 64) - 1) | above << 64, longer)
        elif field.kind == GROUP:
            data += inside + _varint(field.number << 3 | GROUP_END, 0)
        elif field.kind == BYTES:
            data += _varint(len(inside) | above << 32, longer) + inside
        else:
            data += inside
    return data


def _varint(value: int, longer: int) -> bytes:
    spelled = bytearray()
    while value > 127:
        spelled.append(value & 127 | 128)
        value >>= 7
    spelled.append(value)
    for _ in range(longer):
        spelled[-1] |= 128
        spelled.append(0)
    return bytes(spelled)


def _tensor(outside: bool) -> TensorProto:
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, raw_data=b"" if outside else bytes(16))
    if outside:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="side.bin")
    return tensor


def _graph(nodes: list[Any], **parts: Any) -> Any:
    graph = helper.make_graph(nodes, "g", [_SHAPE], [])
    graph.MergeFrom(onnx.GraphProto(**parts))
    return graph


def seeds() -> list[list[Field]]:
    """Return models with one tensor, in each possible place, inside and outside the file."""
    produced = []
    for outside in (False, True):
        tensor = _tensor(outside)
        sparse = onnx.SparseTensorProto(values=tensor, indices=TensorProto(data_type=7, dims=[1]), dims=[4])
        index = onnx.SparseTensorProto(values=TensorProto(name="v", data_type=1), indices=tensor, dims=[4])
        attributes = [
            onnx.AttributeProto(name="value", type=4, t=tensor),
            onnx.AttributeProto(name="value", type=9, tensors=[TensorProto(), tensor]),
            onnx.AttributeProto(name="value", type=11, sparse_tensor=sparse),
            onnx.AttributeProto(name="value", type=12, sparse_tensors=[sparse, index]),
        ]
        held = _graph([], initializer=[tensor])
        attributes += [
            onnx.AttributeProto(name="body", type=5, g=held),
            onnx.AttributeProto(name="body", type=10, graphs=[_graph([]), held]),
        ]
        nodes = [onnx.NodeProto(op_type="Own", domain="own", output=["w"], attribute=[a]) for a in attributes]
        graphs = [_graph([node]) for node in nodes] + [held]
        graphs += [_graph([], sparse_initializer=[s]) for s in (sparse, index)]
        models = [onnx.ModelProto(graph=graph) for graph in graphs]
        models += [onnx.ModelProto(training_info=[{"initialization": held}, {"algorithm": graphs[0]}])]
        function = {"name": "f", "domain": "own", "node": nodes[:1]}
        models += [onnx.ModelProto(functions=[function])]
        models += [onnx.ModelProto(functions=[{"name": "f", "domain": "own", "attribute_proto": attributes[:1]}])]
        for model in models:
            model.ir_version, model.producer_name = 8, "fuzz"
            model.opset_import.add(domain="", version=18)
            produced.append(fields_of(model))
    return produced


def damaged(pick: random.Random, models: list[list[Field]]) -> bytes:
    """Return one of `models` with up to four changed fields, and sometimes changed bytes."""
    fields = _copy(pick.choice(models))
    for _ in range(pick.choice((0, 1, 1, 2, 3, 4))):
        _damage(pick, fields)
    data = written(fields)
    if pick.random() < 0.3:
        data = _damage_bytes(pick, data)
    return data


def _copy(fields: list[Field]) -> list[Field]:
    return [
        Field(f.number, f.kind, _copy(f.value) if isinstance(f.value, list) else f.value, f.longer, f.above)
        for f in fields
    ]


def _damage(pick: random.Random, model: list[Field]) -> None:
    """Change one random field or its surroundings."""
    inside = _inside(pick, model)
    if not inside:
        inside.append(_stranger(pick))
        return
    at = pick.randrange(len(inside))
    field = inside[at]
    action = pick.randrange(12)
    if action == 0:
        inside.insert(pick.randint(0, len(inside)), _copy([field])[0])
    elif action == 1:
        _inside(pick, model).append(_copy([inside.pop(at)])[0])
    elif action == 2 and isinstance(field.value, list):
        _split(pick, inside, at)
    elif action == 3:
        inside.insert(at, _stranger(pick))
    elif action == 4:
        inside[at] = Field(pick.choice(_NUMBERS[1:]), GROUP, [field])
    elif action == 5:
        field.number = pick.choice(_NUMBERS)
    elif action == 6:
        field.kind = pick.randrange(8)
    elif action == 7:
        del inside[at]
    elif action == 8 and isinstance(field.value, int):
        field.value = pick.choice(_VALUES)
    elif action == 9:
        field.above = pick.choice(((pick.randint(1, 7), 0), (1 << 3, 0), (0, 1), (0, 1 << 5)))
    else:
        field.longer = pick.choice(((pick.randint(1, 6), 0), (0, pick.randint(1, 10)), (4, 4)))


def _inside(pick: random.Random, fields: list[Field]) -> list[Field]:
    """Return the fields of the model or of an inner message, uniformly over depths."""
    while True:
        messages = [f.value for f in fields if isinstance(f.value, list)]
        if not messages or pick.random() < 0.2:
            return fields
        fields = pick.choice(messages)


def _split(pick: random.Random, inside: list[Field], at: int) -> None:
    """Split a message into two, each with a part of the fields; parsers merge them."""
    field = inside[at]
    parts: tuple[list[Field], list[Field]] = ([], [])
    for part in field.value:
        pick.choice(parts).append(part)
    inside[at] = Field(field.number, field.kind, parts[0])
    inside.insert(pick.randint(at, len(inside)), Field(field.number, field.kind, parts[1]))


def _stranger(pick: random.Random) -> Field:
    value, kind = pick.choice(
        ((1, VARINT), (bytes(8), FIXED64), (b"side.bin", BYTES), (bytes(4), FIXED32), ([], BYTES))
    )
    return Field(pick.choice(_NUMBERS), kind, value)


def _damage_bytes(pick: random.Random, data: bytes) -> bytes:
    start = pick.randint(0, len(data))
    stop = min(len(data), start + pick.randint(0, 8))
    new = pick.choice((b"", pick.randbytes(pick.randint(1, 6)), data[start:stop] * 2, b"\x80" * pick.randint(1, 5)))
    changed = data[:start] + new + data[pick.choice((start, stop)) :]
    return changed[: pick.randint(0, len(changed))] if pick.random() < 0.1 else changed


def places_of_tensors() -> dict[str, dict[int, str]]:
    """Return message -> field number -> inner message, for every message of a model that is or holds tensors."""
    fields: dict[str, dict[int, str]] = {}

    def visit(message: Descriptor) -> None:
        if message.name not in fields:
            inner = [f for f in message.fields if f.message_type is not None]
            fields[message.name] = {f.number: f.message_type.name for f in inner}
            for field in inner:
                visit(field.message_type)

    visit(onnx.ModelProto.DESCRIPTOR)
    holding = {"TensorProto"}
    while True:
        more = {name for name, inner in fields.items() if holding & set(inner.values())} | holding
        if more == holding:
            break
        holding = more
    return {name: {n: inner for n, inner in fields[name].items() if inner in holding} for name in holding}


_HOLDING = places_of_tensors()


def is_outside(message: Any) -> bool:
    """Return whether a tensor of a parsed message is outside the file."""
    if isinstance(message, TensorProto):
        return len(message.external_data) > 0 or message.data_location == TensorProto.EXTERNAL
    numbers = _HOLDING[message.DESCRIPTOR.name]
    for field, value in message.ListFields():
        if field.number in numbers:
            for item in [value] if isinstance(value, Message) else value:
                if is_outside(item):
                    return True
    return False


def read_by_python(data: bytes) -> onnx.ModelProto | None:
    """Return the model as the Python package of protocol buffers reads it, or None where it refuses."""
    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        return None


def read_by_cpp(data: bytes) -> onnx.ModelProto | None:
    """Return the model as the C++ library of protocol buffers reads and writes it, or None where it refuses."""
    for again in _AGAIN:
        try:
            return read_by_python(again(data))
        except Exception as error:  # each refuses some models that it has read
            if "parse proto" in str(error):
                return None
    return None


def judge(data: bytes) -> str:
    """Return the outcome of the runtime and of the parsers for `data`; raise any other exception."""
    try:
        ours = "refused" if onnx_refers(data) else "accepted"
    except ValueError:
        ours = "unreadable"
    read = [model for model in (read_by_python(data), read_by_cpp(data)) if model is not None]
    outside = any(is_outside(model) for model in read)
    if outside and ours == "accepted":
        raise AssertionError("a tensor outside was not seen")
    return f"{ours}, {'outside' if outside else 'inside' if read else 'read by no parser'}"


def fuzz(runs: int, seed: int) -> dict[str, Any]:
    """Damage and check `runs` models, reproducibly by `seed`."""
    pick, models = random.Random(seed), seeds()
    verdicts: Counter[str] = Counter()
    actual: list[dict[str, str]] = []
    for _ in range(runs):
        data = damaged(pick, models)
        try:
            verdicts[judge(data)] += 1
        except Exception as error:  # the very thing that is looked for
            actual.append({"error": f"{type(error).__name__}: {error}", "input": data.hex()})
            if len(actual) == _MAX_FOUND:
                break
    return {
        "schema": "fuzz/1",
        "seed": seed,
        "runs": verdicts.total() + len(actual),
        "verdicts": dict(sorted(verdicts.items())),
        "uncaught": actual,
    }


def main() -> int:
    """Fuzz with the options of the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    document = fuzz(options.runs, options.seed)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["uncaught"] else 0


if __name__ == "__main__":
    sys.exit(main())
