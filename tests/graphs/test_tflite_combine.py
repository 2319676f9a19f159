"""Several TFLite files in one."""

from pathlib import Path

import numpy as np
import pytest

from eetool.errors import ArtefactError
from eetool.graphs.tflite_combine import combine_tflite
from eetool.graphs.tflite_graph import read_shared_tflite, read_tflite, schema
from eetool_runtime.backends import Threads, backend_for, open_graph
from tests.helpers.backend_contract import FEED, GOLDEN

pytest.importorskip("ai_edge_litert.schema_py_generated")
Builder = pytest.importorskip("flatbuffers").Builder

NAMES = ("contract", "answer", "weighted")
FILES = {name: GOLDEN / f"{name}.tflite" for name in NAMES}


def test_combine_tflite_graphs_compute_the_same_and_keep_their_operators(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(combine_tflite(FILES))
    graphs = backend_for("tflite").open_shared(path, Threads(2))
    assert tuple(graphs) == NAMES
    weighted = open_graph(FILES["weighted"]).run(FEED)
    for actual, expected in zip(graphs["weighted"].run(FEED), weighted, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert read_shared_tflite(path) == {name: read_tflite(file) for name, file in FILES.items()}


def test_combine_tflite_same_files_give_golden_bytes() -> None:
    combined = combine_tflite({name: FILES[name] for name in ("contract", "answer")})
    assert combined == (GOLDEN / "contract_and_answer.tflite").read_bytes()


def test_combine_tflite_file_of_several_graphs_raises_artefact_error() -> None:
    with pytest.raises(ArtefactError, match="a TFLite file needs one graph with one signature"):
        combine_tflite({"a": GOLDEN / "contract_and_answer.tflite"})


def test_combine_tflite_weights_behind_a_graph_become_part_of_it(tmp_path: Path) -> None:
    apart = tmp_path / "weighted.tflite"
    apart.write_bytes(_with_weights_behind(FILES["weighted"].read_bytes()))
    assert apart.read_bytes() != FILES["weighted"].read_bytes()
    files = {"contract": FILES["contract"], "weighted": apart}
    assert combine_tflite(files) == combine_tflite({**files, "weighted": FILES["weighted"]})


def test_combine_tflite_weights_outside_of_the_file_raise_artefact_error(tmp_path: Path) -> None:
    apart = tmp_path / "weighted.tflite"
    apart.write_bytes(_with_weights_behind(FILES["weighted"].read_bytes())[:-1])
    with pytest.raises(ArtefactError, match="its weights lie outside of the file"):
        combine_tflite({"weighted": apart})


def _with_weights_behind(data: bytes) -> bytes:
    """Return a TFLite file with the contents of every buffer after the flatbuffer."""
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(data))
    contents = [b"" if buffer.data is None else bytes(buffer.data) for buffer in model.buffers]
    start, packed = 0, b""
    for _ in range(2):  # first for the length of the flatbuffer, which does not depend on the offsets
        place = start
        for buffer, content in zip(model.buffers, contents, strict=True):
            buffer.data = None
            buffer.offset, buffer.size = (place or 2, len(content)) if content else (0, 0)
            place += len(content)
        builder = Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        packed = bytes(builder.Output())
        start = len(packed)
    return packed + b"".join(contents)
