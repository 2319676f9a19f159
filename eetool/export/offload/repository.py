"""Model repository: the folder layout that Triton and OpenVINO Model Server read, `NAME/1/model.onnx`."""

import hashlib
from pathlib import Path

import onnx
from onnx import ModelProto, ValueInfoProto

from eetool.errors import OutputError
from eetool.export.offload.tail_graph import free_dimensions
from eetool.records import sha256_file, write_directory

_HASH_DIGITS = 8
_LONGEST_NAME = 128  # of a manifest's names
_VERSION, _MODEL, _CONFIG = "1", "model.onnx", "config.pbtxt"


def model_name(bundle: str, data: bytes) -> str:
    """Return the name on the server of the graph `data` of a bundle: its hash is part of it.

    A device thus never asks another model than that of its bundle.
    """
    digest = hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
    return f"{bundle[: _LONGEST_NAME - _HASH_DIGITS - 1]}-{digest}"


def write_model(repository: Path, name: str, model: ModelProto, data: bytes) -> Path:
    """Write a model into a repository, and return its folder. A model that is there already stays as it is.

    Args:
        repository: folder of models.
        name: see `model_name`.
        model: the graph.
        data: the same, serialised.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    folder = repository / name
    if folder.exists():
        file = folder / _VERSION / _MODEL
        if not file.is_file() or sha256_file(file) != hashlib.sha256(data).hexdigest():
            raise OutputError(f"{folder} holds another model than its name says", "Move it away.")
        return folder
    with write_directory(folder) as new:
        (new / _VERSION).mkdir()
        (new / _VERSION / _MODEL).write_bytes(data)
        (new / _CONFIG).write_text(_config(name, model), encoding="utf-8")
    return folder


def _config(name: str, model: ModelProto) -> str:
    """Return the description of the model that Triton reads; the batch is a free dimension of every tensor."""
    lines = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', 'backend: "onnxruntime"', "max_batch_size: 0"]
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        lines += [f"{kind} [", ",\n".join(_tensor(value) for value in values), "]"]
    return "\n".join(lines) + "\n"


def _tensor(value: ValueInfoProto) -> str:
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    names = {"FLOAT": "FP32", "FLOAT16": "FP16"}
    dims = ", ".join(map(str, free_dimensions(value)))
    return f'  {{ name: "{value.name}" data_type: TYPE_{names.get(kind, kind)} dims: [ {dims} ] }}'
