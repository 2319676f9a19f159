"""Graphs with correct hashes that hide a reference to another file in their encoding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from eetool_measure.kernel_trace import TracedGraph
from eetool_runtime.backends import Threads, side_files
from eetool_runtime.backends.side_files import ONNX_MESSAGES, onnx_refers
from eetool_runtime.errors import BackendError
from tests.attacks import fuzz_protobuf
from tests.helpers.tiny_bundle import replace_file, write_tiny_bundle

SEG0 = "components/seg0/onnx-fp32/model.onnx"
IN_MEMORY = "*/_ORT_MEM_ADDR_/*"
WEIGHTS = np.arange(4, dtype=np.float32)
# The tag of an attribute's tensor, 0x2a, at five bytes. Parsers drop what does not fit 32 bits, or refuse.
TAGS = {
    "short": b"\x2a",
    "five bytes": b"\xaa\x80\x80\x80\x00",
    "bits that are dropped": b"\xaa\x80\x80\x80\x10",
    "all bits that are dropped": b"\xaa\x80\x80\x80\x70",
    "six bytes": b"\xaa\x80\x80\x80\x80\x00",
}


def part(tag: bytes, body: bytes) -> bytes:
    size = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
    return tag + size + body


def constant(tag: bytes, location: str) -> bytes:
    """Return a model of one Constant whose tensor is at `location`; `tag` precedes that tensor."""
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=text)
    kind = b"\xa0\x01\x04"  # AttributeProto.type: TENSOR
    attribute = part(b"\x0a", b"value") + part(tag, tensor.SerializeToString()) + kind
    node = part(b"\x12", b"hidden") + part(b"\x22", b"Constant") + part(b"\x2a", attribute)
    return part(b"\x3a", part(b"\x0a", node))


def sum_with(tag: bytes, location: str) -> bytes:
    """Return a model that adds the hidden constant to its input; parsers merge repeated fields."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "hidden"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    hidden: bytes = constant(tag, location) + model.SerializeToString()
    return hidden


@pytest.mark.parametrize("location", ["side.bin", "../outside.bin", "/etc/hostname", IN_MEMORY])
@pytest.mark.parametrize("tag", list(TAGS.values()), ids=list(TAGS))
def test_load_hidden_reference_is_refused(
    tmp_path: Path, refuse_graph: Callable[[Path, str], None], tag: bytes, location: str
) -> None:
    bundle = write_tiny_bundle(tmp_path)
    replace_file(bundle, SEG0, (bundle / SEG0).read_bytes() + constant(tag, location))
    (bundle / SEG0).with_name("side.bin").write_bytes(WEIGHTS.tobytes())
    refuse_graph(bundle, "lie in another file|a number has (more|too many)")


@pytest.mark.parametrize("tag", list(TAGS.values()), ids=list(TAGS))
def test_traced_graph_hidden_reference_is_refused(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(sum_with(tag, "side.bin"))
    (tmp_path / "side.bin").write_bytes(WEIGHTS.tobytes())
    with pytest.raises(BackendError, match=r"lie in another file|a number has more"):
        TracedGraph(path, Threads())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="onnxruntime needs /proc to open a side file")
@pytest.mark.parametrize("name", ["short", "five bytes", "bits that are dropped", "all bits that are dropped"])
def test_onnxruntime_alone_reads_hidden_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.onnx"
    path.write_bytes(sum_with(TAGS[name], "side.bin"))
    (tmp_path / "side.bin").write_bytes(WEIGHTS.tobytes())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": WEIGHTS})[0], WEIGHTS * 2)


def nested(depth: int) -> bytes:
    """Return graphs nested in attributes of nodes."""
    graph = part(b"\x0a", b"")
    for _ in range(depth):
        graph = part(b"\x0a", part(b"\x2a", part(b"\x32", graph)))
    return part(b"\x3a", graph)


def test_onnx_refers_deep_graphs_are_refused() -> None:
    assert not onnx_refers(nested(20))
    with pytest.raises(ValueError, match="nested too deeply"):
        onnx_refers(nested(22))


def test_onnx_refers_file_of_nothing_but_fields_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_files, "_MAX_FIELDS", 1000)
    assert not onnx_refers(b"\x08\x01" * 1000)
    with pytest.raises(ValueError, match="too many fields"):
        onnx_refers(b"\x08\x01" * 1001)


def test_onnx_messages_cover_all_places_of_tensors() -> None:
    there = {name: dict(sorted(inside.items())) for name, inside in fuzz_protobuf.places_of_tensors().items()}
    ours = {name: dict(sorted(inside.items())) for name, inside in ONNX_MESSAGES.items()}
    assert ours == {**there, "TensorProto": {}}


def test_onnx_refers_undamaged_seeds_are_classified() -> None:
    verdicts = [fuzz_protobuf.judge(fuzz_protobuf.written(seed)) for seed in fuzz_protobuf.seeds()]
    half = len(verdicts) // 2
    assert verdicts == ["accepted, inside"] * half + ["refused, outside"] * half


def test_fuzz_protobuf_short_run_finds_nothing() -> None:
    document = fuzz_protobuf.fuzz(runs=20_000, seed=1)
    assert document["uncaught"] == []
    verdicts = document["verdicts"]
    assert verdicts["accepted, inside"] > 4000  # it does not refuse everything,
    assert verdicts["refused, outside"] > 4000  # and many damages leave the reference where it is
    assert verdicts["unreadable, outside"] > 100  # some hide it in a spelling


def test_fuzz_protobuf_careless_search_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes) -> Any:
        return TAGS["short"] in data and onnx_refers(data)

    monkeypatch.setattr(fuzz_protobuf, "onnx_refers", careless)
    document = fuzz_protobuf.fuzz(runs=500, seed=1)
    assert {"error", "input"} == set(document["uncaught"][0])
    assert any("a tensor outside was not seen" in item["error"] for item in document["uncaught"])
    assert fuzz_protobuf.fuzz(runs=500, seed=1) == document
