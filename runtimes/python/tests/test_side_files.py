"""Graphs with weights in another file are refused, wherever the reference is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from eetool_runtime.backends import Threads, open_graph, open_onnx_with_side_files
from eetool_runtime.backends.side_files import refuse_onnx_side_files
from eetool_runtime.errors import BackendError

WEIGHTS = np.arange(4, dtype=np.float32)


def outside(name: str) -> TensorProto:
    """Return a tensor of four floats whose data is in `side.bin`."""
    tensor = TensorProto(name=name, dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, text in (("location", "side.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=text)
    return tensor


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])


def model(nodes: list[Any], weights: list[TensorProto]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "location", [value("x")], [value("y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def as_weight() -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "w"], ["y"])], [outside("w")])


def as_attribute() -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["w"], value=outside("w"))
    return model([constant, helper.make_node("Add", ["x", "w"], ["y"])], [])


def in_a_branch() -> onnx.ModelProto:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["z"])], name, [], [value("z")], [outside("w")]
        )
        for name in ("then", "else")
    }
    condition = numpy_helper.from_array(np.array(True), "c")
    return model([helper.make_node("If", ["c"], ["y"], **branches)], [condition])


@pytest.fixture
def side_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # onnxruntime also looks in the working directory
    (tmp_path / "side.bin").write_bytes(WEIGHTS.tobytes())
    return tmp_path


@pytest.mark.parametrize("make", [as_weight, as_attribute, in_a_branch])
def test_open_graph_weights_in_other_file_raises_backend_error(side_file: Path, make: Any) -> None:
    path = side_file / "model.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(BackendError, match=r"model\.onnx: its weights lie in another file"):
        open_graph(path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="onnxruntime needs /proc to open a side file")
def test_onnxruntime_alone_reads_weights_in_other_file(side_file: Path) -> None:
    path = side_file / "model.onnx"
    path.write_bytes(as_weight().SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": WEIGHTS})[0], WEIGHTS * 2)


def test_open_graph_word_location_in_texts_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    node = helper.make_node("Add", ["x", "w"], ["y"], name="location", doc_string="location: side.bin")
    path.write_bytes(model([node], [numpy_helper.from_array(WEIGHTS, "w")]).SerializeToString())
    assert b"location" in path.read_bytes()
    np.testing.assert_array_equal(open_graph(path).run({"x": WEIGHTS})[0], WEIGHTS * 2)


def test_refuse_onnx_side_files_overlong_varint_raises_backend_error(tmp_path: Path) -> None:
    data = as_weight().SerializeToString()
    short, long = b"\x70\x01", b"\x70\x81\x00"  # data_location = 1, in one byte and in two
    assert data.count(short) == 1
    at = data.index(short)
    tensor = outside("w").SerializeToString()
    longer = tensor.replace(short, long)
    path = tmp_path / "model.onnx"
    assert at > 0
    path.write_bytes(_field(7, _field(5, longer)))
    with pytest.raises(BackendError, match="its weights lie in another file"):
        refuse_onnx_side_files(path)


def _field(number: int, body: bytes) -> bytes:
    assert len(body) < 128 * 128
    size = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
    return bytes([number << 3 | 2]) + size + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as an ONNX file"),
        (b"\x3a\x7flocation", "longer than the message"),
        (b"\x3blocation", "unknown wire type"),
        (b"\x0a\x08location\xff", "ends within a number"),
    ],
)
def test_refuse_onnx_side_files_damaged_file_raises_backend_error(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BackendError, match=message):
        refuse_onnx_side_files(path)


def at(location: str) -> onnx.ModelProto:
    proto = as_weight()
    proto.graph.initializer[0].external_data[0].value = location
    return proto


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="onnxruntime 1.32 opens them through /proc")
def test_open_onnx_with_side_files_in_the_folder_runs(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for location in ("side.bin", "deeper/side.bin"):
        (tmp_path / location).write_bytes(WEIGHTS.tobytes())
        path = tmp_path / "model.onnx"
        path.write_bytes(at(location).SerializeToString())
        (result,) = open_onnx_with_side_files(path, Threads()).run({"x": np.ones(4, np.float32)})
        assert result.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../side.bin", "leads out of its folder"),
        ("deeper/../../side.bin", "leads out of its folder"),
        ("/etc/hostname", "is no relative path"),
        ("C:\\side.bin", "is no relative path"),
        ("deeper\\side.bin", "is no relative path"),
        ("", "is no relative path"),
        ("link.bin", "symbolic link"),
        ("linked/side.bin", "symbolic link"),
        ("none.bin", "is missing in that folder"),
        ("inside", "is missing in that folder"),
    ],
)
def test_open_onnx_with_side_files_elsewhere_is_refused(tmp_path: Path, location: str, message: str) -> None:
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    for place in (tmp_path, folder):
        (place / "side.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "side.bin")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "model.onnx").write_bytes(at(location).SerializeToString())
    with pytest.raises(BackendError, match=message) as caught:
        open_onnx_with_side_files(folder / "model.onnx", Threads())
    assert repr(location) in caught.value.message


def test_open_onnx_with_side_files_second_location_is_checked_too(tmp_path: Path) -> None:
    """Parsers take the last of several entries."""
    proto = at("side.bin")
    proto.graph.initializer[0].external_data.add(key="location", value="../side.bin")
    (tmp_path / "side.bin").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(BackendError, match="leads out of its folder"):
        open_onnx_with_side_files(tmp_path / "model.onnx", Threads())
