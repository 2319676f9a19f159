"""Export for a server: the repository, and a graph that answers as the components do."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.errors import ArtefactError, OutputError, VerificationError
from eetool.export.offload.cut import find_cut
from eetool.export.offload.export import OffloadExport, OffloadOrder, add_offload, ask_graph, prove_tail
from eetool.export.offload.split_answers import SplitAnswers
from eetool.metrics import exits_taken
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.backends import open_graph
from eetool_runtime.preprocess import normalise
from tests.helpers.tiny_bundle import write_tiny_bundle

TINY: list[dict[str, Any]] = [{}, {"joined": True}, {"chained": True}, {"ids": True}, {"joined": True, "chained": True}]


def exported(folder: Path, after: int | None, wire: str, **tweaks: Any) -> tuple[Bundle, OffloadExport]:
    bundle = open_bundle(write_tiny_bundle(folder, **tweaks))
    result = add_offload(bundle, folder / "cut.eebundle", OffloadOrder(after, wire, folder / "models"))
    return open_bundle(folder / "cut.eebundle"), result


@pytest.mark.parametrize("tweaks", TINY, ids=str)
@pytest.mark.parametrize("wire", ["fp32", "fp16", "uint8"])
@pytest.mark.parametrize("after", [None, 0, 1])
def test_add_offload_every_cut_and_wire_keeps_decisions(
    tmp_path: Path, after: int | None, wire: str, tweaks: dict[str, Any]
) -> None:
    bundle, result = exported(tmp_path, after, wire, **tweaks)
    spec = bundle.manifest.offload
    assert spec is not None
    assert (spec.after_exit, spec.wire, bundle.manifest.schema_version) == (after, wire, "1.1")
    assert all(share == 1.0 for share in result.same_decisions.values()), "numbers of the tiny bundle are exact"
    assert [o.exit for o in spec.outputs] == list(range(spec.first_exit, 3))
    assert load(bundle).stats()["calls"] == 0, "a runtime opens it"


def test_add_offload_writes_the_layout_of_a_model_repository(tmp_path: Path) -> None:
    _, result = exported(tmp_path, 0, "fp16", chained=True)
    file = result.model / "1" / "model.onnx"
    assert result.spec.model == f"tiny-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    assert result.model == tmp_path / "models" / result.spec.model
    assert sorted(p.name for p in result.model.rglob("*")) == ["1", "config.pbtxt", "model.onnx"]
    config = (result.model / "config.pbtxt").read_text()
    assert config.startswith(f'name: "{result.spec.model}"\nplatform: "onnxruntime_onnx"\nbackend: "onnxruntime"\n')
    assert '{ name: "features0" data_type: TYPE_FP16 dims: [ -1, 1, 4, 4 ] }' in config
    assert '{ name: "exit1_temperature" data_type: TYPE_FP32 dims: [ 1 ] }' in config
    assert '{ name: "exit2_confidence" data_type: TYPE_FP32 dims: [ -1 ] }' in config
    model = onnx.load(file)
    assert {value.name for value in model.graph.input} == {
        *("features0", "exit0_logits", "exit1_temperature", "exit2_temperature")
    }


def test_add_offload_twice_gives_the_same_model_and_keeps_it(tmp_path: Path) -> None:
    bundle, first = exported(tmp_path, 0, "uint8")
    written = (first.model / "1" / "model.onnx").stat().st_mtime_ns
    again = add_offload(bundle, tmp_path / "again.eebundle", OffloadOrder(0, "uint8", tmp_path / "models"))
    assert again.model == first.model
    assert (first.model / "1" / "model.onnx").stat().st_mtime_ns == written
    (first.model / "1" / "model.onnx").write_bytes(b"other")
    with pytest.raises(OutputError, match="holds another model than its name says"):
        add_offload(bundle, tmp_path / "third.eebundle", OffloadOrder(0, "uint8", tmp_path / "models"))
    assert not (tmp_path / "third.eebundle").exists()


def test_prove_tail_of_a_changed_graph_is_refused(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    result = add_offload(opened, tmp_path / "cut.eebundle", OffloadOrder(0, "fp32", tmp_path / "models"))
    model = onnx.load(result.model / "1" / "model.onnx")
    weight = next(w for w in model.graph.initializer if numpy_helper.to_array(w).ndim == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.1), weight.name))
    samples = opened.arrays(opened.manifest.samples)
    with pytest.raises(VerificationError, match="the server's graph does not compute what the model computes"):
        prove_tail(model.SerializeToString(), opened, find_cut(opened.manifest, 0), result.spec.inputs, samples)


def test_add_offload_without_float_components_is_refused(tmp_path: Path) -> None:
    bundle = open_bundle(write_tiny_bundle(tmp_path))
    renamed = {"onnx/int8": bundle.manifest.variants["onnx/fp32"]}
    bundle = replace(bundle, manifest=replace(bundle.manifest, variants=renamed))
    with pytest.raises(ArtefactError, match="has no variant onnx/fp32, whose components a server runs"):
        add_offload(bundle, tmp_path / "cut.eebundle", OffloadOrder(0, "fp32", tmp_path / "models"))


@pytest.fixture(scope="module")
def thousand() -> np.ndarray:
    source = load_source("digits")
    return source.inputs[:1000]


@pytest.mark.parametrize("after", [None, 0, 1])
def test_decisions_of_1000_inputs_with_floats_equal_the_local_cascade(
    bundle: Path, tmp_path: Path, thousand: np.ndarray, after: int | None
) -> None:
    opened = open_bundle(bundle)
    result = add_offload(opened, tmp_path / "cut.eebundle", OffloadOrder(after, "fp32", tmp_path / "models"))
    inputs = {"input": normalise(thousand, opened.manifest.inputs[0])}
    split = SplitAnswers(opened, "onnx/fp32", result.cut, result.spec.inputs)
    boundary = split.boundary(inputs)
    answers = ask_graph(open_graph(result.model / "1" / "model.onnx"), opened, result.cut, split.sent(boundary))
    model = load(opened)
    here = model.every_exit(inputs)[: result.cut.exits_here]
    for name, point in model.operating_points.items():
        model.use(name)
        local = model.batch(inputs)
        together = exits_taken(np.stack([c for _, c in (*here, *answers)]), point.thresholds)
        logits = np.stack([x for x, _ in (*here, *answers)])[together, np.arange(1000)]
        same = [r.exit == k and r.index == row.argmax() for r, k, row in zip(local, together, logits, strict=True)]
        assert sum(same) >= 999, name


@pytest.mark.parametrize("wire", ["fp16", "uint8"])
def test_add_offload_refits_on_what_the_wire_gives(bundle: Path, digits: Source, tmp_path: Path, wire: str) -> None:
    opened = open_bundle(bundle)
    order = OffloadOrder(0, wire, tmp_path / "models", labelled=digits)
    result = add_offload(opened, tmp_path / "cut.eebundle", order)
    policy, own = result.spec.variants["onnx/fp32"], opened.manifest.variants["onnx/fp32"]
    assert policy.temperatures[0] == own.temperatures[0], "the device computes exit 0"
    assert policy.operating_points.keys() == own.operating_points.keys()
    for point in policy.operating_points.values():
        assert point.link_up is not None
        assert point.link_down is not None
        assert point.link_up.mean_macs < point.link_down.mean_macs
        assert abs(point.link_up.accuracy - point.link_down.accuracy) < 0.02, "the loss of the wire"
        assert point.offload_share == pytest.approx(sum(point.link_up.exit_shares[1:]))


def test_add_offload_of_floats_keeps_the_policy(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    result = add_offload(opened, tmp_path / "cut.eebundle", OffloadOrder(0, "fp32", tmp_path / "models"))
    own = opened.manifest.variants["onnx/fp32"]
    policy = result.spec.variants["onnx/fp32"]
    assert policy.temperatures == own.temperatures
    for name, point in policy.operating_points.items():
        expected = own.operating_points[name].expected
        assert expected is not None
        assert point.link_down == expected
        assert point.link_up == replace(expected, mean_macs=point.link_up.mean_macs if point.link_up else 0.0)
