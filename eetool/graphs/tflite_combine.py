"""Several TFLite files in one, with a signature for each, so that one interpreter runs them with one pool of threads.

The classes of the schema come with LiteRT (extra `tflite`). Graphs are not run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eetool.errors import ArtefactError
from eetool.graphs.tflite_graph import schema

_ALIGNMENT = 16  # bytes, of stored values in the schema
_MAX_BYTES = (1 << 31) - 1  # offsets in a flatbuffer have 31 bits
_VERSION = 3  # of the schema


def combine_tflite(files: Mapping[str, Path]) -> bytes:
    """Return one TFLite file that holds the graphs of `files`, each under its name as a signature.

    Indices of buffers and operator codes are shifted; nothing else in a graph changes. The same files give the same
    bytes.

    Raises:
        ArtefactError: a file has not exactly one graph with one signature, or all together are too large.
        MissingError: LiteRT is not installed.
    """
    s = schema()
    combined = s.ModelT()
    combined.version = _VERSION
    combined.buffers, combined.operatorCodes, combined.subgraphs, combined.signatureDefs = [], [], [], []
    total_bytes = sum(path.stat().st_size for path in files.values())
    if total_bytes > _MAX_BYTES:
        raise ArtefactError(f"one TFLite file holds at most 2 GiB; these graphs have {total_bytes} bytes")
    for name, path in files.items():
        data = path.read_bytes()
        model = s.ModelT.InitFromObj(s.Model.GetRootAs(data))
        take_in_weights(model, data, path)
        _append(combined, name, model, path)
    builder = aligned_builder()
    builder.Finish(combined.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def take_in_weights(model: Any, data: bytes, path: Path) -> None:
    """Move weights that lie behind the flatbuffer of `data`, as quantizers write them, into the buffers of `model`."""
    for buffer in model.buffers:
        if buffer.offset > 1:  # a smaller one says that there are none
            end = buffer.offset + buffer.size
            if end > len(data):
                raise ArtefactError(f"{path}: its weights lie outside of the file")
            buffer.data = np.frombuffer(data[buffer.offset : end], np.uint8)
        buffer.offset = buffer.size = 0


def _append(combined: Any, name: str, model: Any, path: Path) -> None:
    if len(model.subgraphs or ()) != 1 or len(model.signatureDefs or ()) != 1:
        raise ArtefactError(f"{path}: to be combined, a TFLite file needs one graph with one signature")
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for tensor in graph.tensors:
        tensor.buffer += len(combined.buffers)
    for operator in graph.operators:
        operator.opcodeIndex += len(combined.operatorCodes)
    signature.signatureKey, signature.subgraphIndex = name, len(combined.subgraphs)
    combined.buffers += model.buffers
    combined.operatorCodes += model.operatorCodes
    combined.subgraphs.append(graph)
    combined.signatureDefs.append(signature)


def aligned_builder() -> Any:
    """Return a builder of flatbuffers that aligns stored values as the schema of TFLite demands."""
    from flatbuffers import Builder

    class Aligned(Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - the name in flatbuffers
            self.Prep(_ALIGNMENT, x.nbytes)
            return int(super().CreateNumpyVector(x))

    return Aligned(0)
