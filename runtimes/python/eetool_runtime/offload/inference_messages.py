"""Messages of `inference.proto` as classes of the library protobuf, built from a table.

Modules that protoc writes fit few versions of the library, and register their messages where those of another package
of this protocol, such as a server's own client, would clash with them. Descriptors in a pool of their own do neither.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE, SERVICE = "inference", "GRPCInferenceService"
# By message: name, number and type of its fields. `[]` marks repeated ones; other names are messages.
MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "InferInputTensor": (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64[]")),
    "InferRequestedOutputTensor": (("name", 1, "string"),),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("inputs", 5, "InferInputTensor[]"),
        ("outputs", 6, "InferRequestedOutputTensor[]"),
        ("raw_input_contents", 7, "bytes[]"),
    ),
    "InferTensorContents": (("fp32_contents", 6, "float[]"),),
    "InferOutputTensor": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "int64[]"),
        ("contents", 5, "InferTensorContents"),
    ),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("outputs", 5, "InferOutputTensor[]"),
        ("raw_output_contents", 6, "bytes[]"),
    ),
}
METHODS = ("ServerReady", "ModelReady", "ModelInfer")  # each takes NAMERequest and returns NAMEResponse


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package=PACKAGE, syntax="proto3")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            base = kind.replace("[]", "")
            field = described.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if kind.endswith("[]") else field_type.LABEL_OPTIONAL
            if base in MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{PACKAGE}.{base}"
            else:
                field.type = getattr(field_type, f"TYPE_{base.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


CLASSES = _message_classes()


def method_path(method: str) -> str:
    """Return the path of a method: `/inference.GRPCInferenceService/ModelInfer`."""
    return f"/{PACKAGE}.{SERVICE}/{method}"
