"""Several TFLite files in one."""

from pathlib import Path

import numpy as np
import pytest

from eetool.errors import ArtefactError
from eetool.graphs.tflite_combine import combine_tflite
from eetool.graphs.tflite_graph import read_shared_tflite, read_tflite
from eetool_runtime.backends import Threads, backend_for, open_graph
from tests.helpers.backend_contract import FEED, GOLDEN

pytest.importorskip("ai_edge_litert.schema_py_generated")

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
