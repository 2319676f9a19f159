"""The messages of gRPC: the table agrees with `inference.proto`, and does not clash with other packages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.protobuf")

from google.protobuf import descriptor_pool

import eetool_runtime
from eetool_runtime.offload import inference_messages as module

PROTO = Path(eetool_runtime.__file__).parent / "offload/inference.proto"


def fields_in_proto(text: str) -> dict[str, tuple[tuple[str, int, str], ...]]:
    """Return messages and their fields as `inference_messages.MESSAGES` has them."""
    text = re.sub(r"//.*", "", text)
    messages = {}
    for name, body in re.findall(r"message (\w+) \{([^}]*)\}", text):
        fields = re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body)
        messages[name] = tuple((f, int(n), kind + ("[]" if repeated else "")) for repeated, kind, f, n in fields)
        assert len(fields) == body.count(";")
    return messages


def test_messages_are_those_of_the_proto_file() -> None:
    text = PROTO.read_text(encoding="utf-8")
    assert fields_in_proto(text) == module.MESSAGES
    assert re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\);", text) == [
        (method, f"{method}Request", f"{method}Response") for method in module.METHODS
    ]
    assert f"package {module.PACKAGE};" in text
    assert f"service {module.SERVICE} {{" in text


def test_proto_file_compiles_to_the_same_descriptors(tmp_path: Path) -> None:
    """Compare with what protoc makes of the file, where the package grpcio-tools is installed."""
    protoc = pytest.importorskip("grpc_tools.protoc")
    from google.protobuf import descriptor_pb2

    output = tmp_path / "set.bin"
    assert protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={output}", str(PROTO)]) == 0
    (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file
    for message in compiled.message_type:
        own = module.CLASSES[message.name].DESCRIPTOR
        expected = [(f.name, f.number, f.type, f.label) for f in message.field]
        written = descriptor_pb2.DescriptorProto()
        own.CopyToProto(written)
        assert [(f.name, f.number, f.type, f.label) for f in written.field] == expected


def test_messages_have_the_bytes_of_the_protocol() -> None:
    """Check bytes that were worked out by hand from the protocol's field numbers."""
    request: Any = module.CLASSES["ModelInferRequest"](model_name="m", raw_input_contents=[b"\x01\x02"])
    request.inputs.add(name="x", datatype="UINT8", shape=[1, 2])
    request.outputs.add(name="y")
    expected = b"\x0a\x01m\x2a\x0e\x0a\x01x\x12\x05UINT8\x1a\x02\x01\x02\x32\x03\x0a\x01y\x3a\x02\x01\x02"
    assert request.SerializeToString() == expected
    reply = module.CLASSES["ModelInferResponse"].FromString(
        b"\x0a\x01m\x12\x011\x2a\x0b\x0a\x01y\x12\x04FP32\x1a\x00\x32\x04\x00\x00\x80\x3f"
    )
    assert (reply.model_name, reply.outputs[0].name, list(reply.raw_output_contents)) == (
        "m",
        "y",
        [b"\x00\x00\x80\x3f"],
    )


def test_messages_are_in_no_pool_of_other_packages() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
    assert module.method_path("ModelInfer") == "/inference.GRPCInferenceService/ModelInfer"
