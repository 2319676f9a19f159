"""Parts of TFLite files: they compute the same, hold no other weights, and depend on nothing else."""

from pathlib import Path

import numpy as np
import pytest

from eetool.errors import ArtefactError
from eetool.graphs.tflite_cut import cut_tflite
from eetool.graphs.tflite_graph import read_tflite
from eetool_runtime.backends import open_graph
from tests.helpers.backend_contract import FEED, GOLDEN

pytest.importorskip("ai_edge_litert.schema_py_generated")
pytest.importorskip("flatbuffers")
WEIGHTED = GOLDEN / "weighted.tflite"


def test_cut_tflite_part_computes_the_same_under_its_new_name(tmp_path: Path) -> None:
    path = tmp_path / "part.tflite"
    path.write_bytes(cut_tflite(WEIGHTED, ["ids"], {"total": "sum"}))
    graph = open_graph(path)
    assert (list(graph.inputs), list(graph.outputs)) == (["ids"], ["sum"])
    whole = dict(zip(open_graph(WEIGHTED).outputs, open_graph(WEIGHTED).run(FEED), strict=True))
    np.testing.assert_array_equal(graph.run({"ids": FEED["ids"]})[0], whole["total"])
    weights = [t for t in read_tflite(path).tensors if t.constant and len(t.shape) == 2]
    assert weights == []  # those of the other output
    assert path.stat().st_size < WEIGHTED.stat().st_size


def test_cut_tflite_of_everything_computes_everything(tmp_path: Path) -> None:
    path = tmp_path / "whole.tflite"
    path.write_bytes(cut_tflite(WEIGHTED, ["x", "ids", "factor"], {"scaled": "scaled", "total": "total"}))
    for actual, expected in zip(open_graph(path).run(FEED), open_graph(WEIGHTED).run(FEED), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert [o.op for o in read_tflite(path).operations] == [o.op for o in read_tflite(WEIGHTED).operations]


def test_cut_tflite_from_too_few_inputs_raises_artefact_error() -> None:
    with pytest.raises(ArtefactError, match="depends on another input"):
        cut_tflite(WEIGHTED, ["x"], {"scaled": "scaled"})
