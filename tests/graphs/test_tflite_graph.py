"""Reading of TFLite files."""

from pathlib import Path

import pytest

from eetool.errors import ArtefactError
from eetool.graphs.tflite_graph import parse_tflite, read_tflite
from eetool.latency.kernels.from_tflite import kernels_from_tflite
from eetool.latency.probes.onnx_to_tflite import convert_to_tflite
from eetool.latency.probes.probe_network import ProbeNetwork

pytest.importorskip("ai_edge_litert")


def test_read_tflite_invalid_raises_artefact_error(tmp_path: Path) -> None:
    for name, content in (("empty.tflite", b""), ("text.tflite", b"what is this, and why?")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtefactError, match="not a TFLite file"):
            read_tflite(tmp_path / name)
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_tflite(tmp_path / "missing.tflite")
    whole = convert_to_tflite(ProbeNetwork("plain", 0).build())
    assert kernels_from_tflite(parse_tflite(whole, "whole"))
    with pytest.raises(ArtefactError, match="cannot be read as a TFLite file"):
        parse_tflite(whole[:400], "cut")
