"""Sets of ways: their predictions, and the files that are refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from eetool.bench.example_forms import ExampleForms, bench_inputs
from eetool.bench.predictions import predict_exits, predict_static
from eetool.bench.way_sets import VariantWays, WaySet, rival_sets
from eetool.bench.ways import CascadeWay, StaticWay, cascade_macs, unique_names
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool_runtime import load
from eetool_runtime.bundle import Bundle, open_bundle
from eetool_runtime.errors import BackendError
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import Text
from tests.helpers.tiny_bundle import POINTS, write_tiny_bundle
from tests.helpers.tiny_graphs import CLASSES

FP32 = ("onnx/fp32",)


@pytest.fixture
def model(bundle: Path) -> Bundle:
    return open_bundle(bundle)


def rivals(
    path: Path,
    model: Bundle,
    examples: np.ndarray,
    inputs: Sequence[np.ndarray] | None = None,
    variants: tuple[str, ...] = FP32,
) -> list[WaySet]:
    return rival_sets(path, model, variants, ExampleForms(examples), inputs or bench_inputs(model, examples), 1)


def rival(path: Path, model: Bundle, examples: np.ndarray, inputs: Sequence[np.ndarray] | None = None) -> StaticWay:
    (one,) = rivals(path, model, examples, inputs)
    with one.opened() as (way,):
        assert isinstance(way, StaticWay)
        return way


def test_variant_ways_predictions_are_those_of_the_loaded_bundle(model: Bundle, source: Source) -> None:
    """The gates' choice among the results of every exit is what the cascade itself returns."""
    inputs = bench_inputs(model, source.inputs)
    ways = VariantWays(model, "onnx/fp32", inputs, 1)
    assert [label.name for label in ways.labels] == ["unsplit", *POINTS]
    predictions = ways.predict()
    assert not predictions.failed
    with ways.opened() as opened:
        for way in opened:
            way.prepare(range(64))
            assert [way.classify(i) for i in range(64)] == predictions.ways[way.name].classes.tolist()
            if isinstance(way, CascadeWay):
                results = [way.model(x) for x in inputs]
                assert [r.exit for r in results] == predictions.ways[way.name].exits.tolist()  # type: ignore[union-attr]
                expected = [float(r.probabilities.max()) for r in results]
                assert predictions.ways[way.name].probability == pytest.approx(expected)


def test_variant_ways_keep_their_graphs_only_where_asked(model: Bundle, source: Source) -> None:
    ways = VariantWays(model, "onnx/fp32", bench_inputs(model, source.inputs), 1)
    with ways.opened() as first, ways.opened() as second:
        assert first[0] is not second[0]
    ways.keep = True
    with ways.opened() as first, ways.opened() as second:
        assert first[0] is second[0]
    sizes = [path.stat().st_size for path in model.path.rglob("*.onnx") if "all_exits" not in path.parts]
    assert ways.graphs_bytes == sum(sizes)


def test_predict_exits_nan_fails_only_where_inputs_leave_there(model: Bundle, source: Source) -> None:
    exits = predict_exits(load(model), bench_inputs(model, source.inputs))
    taken = exits.at(model.variant("onnx/fp32").operating_points["fast"].thresholds, "fast").exits
    assert taken is not None
    exits.finite[-1, np.flatnonzero(taken < 2)] = False
    assert exits.at((0.6, 0.6), "fast").exits is not None
    with pytest.raises(ArtefactError, match="full: exit 2 gives NaN for input 4"):
        exits.at((None, None), "full")


def test_cascade_macs_by_exit(model: Bundle) -> None:
    every = [stage.macs for stage in plan_steps(model.manifest, (0.5, 0.5)) if stage.gate is not None]
    assert cascade_macs(model.manifest, (0.8, 0.8)) == dict(enumerate(every))
    assert cascade_macs(model.manifest, (None, None)) == {2: plan_steps(model.manifest, (None, None))[-1].macs}


def test_rival_file_finds_logits_by_name(model: Bundle, source: Source, write_net) -> None:  # type: ignore[no-untyped-def]
    """The first output of this network has the opposite logits."""
    net = rival(write_net(), model, source.inputs)
    right = np.repeat(np.arange(CLASSES)[None], 16, axis=0).ravel()
    assert [net.classify(i) for i in range(64)] == right.tolist()
    assert net.name == "net.onnx"


def test_rival_file_failing_later_raises_backend_error(model: Bundle, source: Source, tmp_path: Path) -> None:
    """A graph that reads its prediction from a table without entries for bright images."""
    path = tmp_path / "net.onnx"
    path.write_bytes(
        onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        net (float[batch, 1, 4, 4] image) => (float[batch, k] logits) {
            brightest = ReduceMax <keepdims = 0> (image)
            place = Cast <to = 7> (brightest)
            table = Constant <value = float[1,4] {1, 0, 0, 0}> ()
            zero = Constant <value = int64[1] {0}> ()
            rows = Unsqueeze (place, zero)
            logits = Gather <axis = 0> (table, rows)
        }""").SerializeToString()
    )
    dark, bright = np.zeros((1, 1, 4, 4), np.float32), np.full((1, 1, 4, 4), 9, np.float32)
    net = rival(path, model, source.inputs, [dark, bright])
    assert net.classify(0) == 0
    with pytest.raises(BackendError, match=r"could not run: .*indices"):
        net.classify(1)
    assert net.classify(0) == 0


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"shape": "batch, 3, 4, 4"}, r"input 'image' is float32 \(batch, 3, 4, 4\), the inputs are"),
        ({"shape": "2, 1, 4, 4"}, "input 'image'"),
        ({"shape": "batch, 4, 4"}, "cannot load this graph"),
        ({"dtype": "uint8"}, "input 'image' is uint8"),
        ({"more": ", float[batch] second"}, "has 2 inputs"),
        ({"classes": 3}, r"expected logits of shape \(1, 4\), found \(1, 3\)"),
    ],
)
def test_rival_file_unfitting_network_raises_artefact_error(  # type: ignore[no-untyped-def,type-arg]
    model: Bundle, source: Source, write_net, net: dict, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        rivals(write_net(**net), model, source.inputs)


def test_rival_invalid_file_raises_artefact_error(model: Bundle, source: Source, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a net")
    for name, message in (("notes.txt", "cannot be read as an ONNX file"), ("nothing.onnx", "does not exist")):
        with pytest.raises(ArtefactError, match=message):
            rivals(tmp_path / name, model, source.inputs)


def test_rival_bundle_uses_its_unsplit_network_in_every_common_variant(
    model: Bundle, source: Source, tmp_path: Path
) -> None:
    own_graph = "reference/all_exits/onnx-fp32/model.onnx"

    def add(document) -> None:  # type: ignore[no-untyped-def]
        same = document["variants"]["onnx/fp32"]
        document["variants"]["onnx/int8"] = {**same, "references": {"unsplit": own_graph}}

    path = write_tiny_bundle(tmp_path, name="other", early_exits=1, edit=add)
    for variants, names in [
        (FP32, ["other.eebundle"]),
        (("onnx/fp32", "onnx/int8"), ["other.eebundle onnx/fp32", "other.eebundle onnx/int8"]),
        (("tflite/fp32",), ["other.eebundle onnx/fp32"]),  # compared as it is, rather than left out
    ]:
        sets = rivals(path, model, source.inputs, variants=variants)
        assert [label.name for one in sets for label in one.labels] == names
        assert all(one.labels[0].macs for one in sets)
    (only,) = rivals(path, model, source.inputs)
    assert only.predict().ways["other.eebundle"].exits is None


def test_rival_unfitting_bundle_raises_artefact_error(model: Bundle, source: Source, tmp_path: Path) -> None:
    stripped = write_tiny_bundle(tmp_path, name="stripped", references=False)
    with pytest.raises(ArtefactError, match="no reference/unsplit") as refused:
        rivals(stripped, model, source.inputs)
    assert refused.value.hint is not None
    assert "--no-reference" in refused.value.hint
    renamed = write_tiny_bundle(tmp_path, name="renamed", labels=("a", "b", "c", "d"))
    with pytest.raises(ArtefactError, match="other classes"):
        rivals(renamed, model, source.inputs)


def test_rival_bundle_with_another_vocabulary_raises_artefact_error(
    model: Bundle, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, inputs = write_tiny_bundle(tmp_path, name="other"), bench_inputs(model, source.inputs)
    texts = replace(model.manifest.inputs[0], text=Text(("word",)))
    monkeypatch.setitem(vars(model), "manifest", replace(model.manifest, inputs=(texts,)))
    with pytest.raises(
        ArtefactError, match=r"other\.eebundle: has another vocabulary than .*, so its token ids differ"
    ):
        rivals(path, model, source.inputs, inputs)


def test_bench_inputs_other_shape_raises_artefact_error(model: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="takes images of 1x4x4, and the data has uint8 of 3x4x4"):
        bench_inputs(model, np.zeros((2, 3, 4, 4), np.uint8))
    two_inputs = open_bundle(write_tiny_bundle(tmp_path, name="two", ids=True))
    with pytest.raises(ArtefactError, match="it has 2 inputs"):
        bench_inputs(two_inputs, np.zeros((2, 1, 4, 4), np.uint8))


def test_unique_names_appends_number() -> None:
    assert unique_names(["net", "net", "x", "net"]) == ["net", "net (2)", "x", "net (3)"]
    assert unique_names(["net", "net (2)", "net"]) == ["net", "net (2)", "net (3)"]


def net_of(folder: Path, weight: np.ndarray, beside: bool = False) -> Path:
    """Write a network of one product, whose weight may lie in a file beside it."""
    text = """<ir_version: 8, opset_import: ["" : 18]>
    net (float[batch, 1, 4, 4] image) => (float[batch, 4] logits) { f = Flatten (image) logits = MatMul (f, w) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(np.float32), "w"))
    places = {"save_as_external_data": True, "location": "net.onnx.data", "size_threshold": 0} if beside else {}
    onnx.save(proto, str(folder / "net.onnx"), **places)
    return folder / "net.onnx"


def test_rival_file_weights_beside_the_file_are_used(model: Bundle, source: Source, tmp_path: Path) -> None:
    weight, inputs = np.eye(16, 4), bench_inputs(model, source.inputs)
    path = net_of(tmp_path, weight, beside=True)
    net = rival(path, model, source.inputs, inputs)
    assert [net.classify(i) for i in range(64)] == [int(x.reshape(16)[:4].argmax()) for x in inputs]
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(ArtefactError, match=r"its weights lie in 'net.onnx.data', which is missing") as caught:
        rival(path, model, source.inputs, inputs)
    assert caught.value.hint == "Copy net.onnx.data into the folder of net.onnx."


@pytest.mark.parametrize("beside", [False, True])
def test_rival_file_nan_is_traced_to_its_weight(model: Bundle, source: Source, tmp_path: Path, beside: bool) -> None:
    weight = np.eye(16, 4)
    weight[3, 1] = np.nan
    net = rival(net_of(tmp_path, weight, beside), model, source.inputs)
    with pytest.raises(ArtefactError, match="NaN or infinite logits for input 0: w: 1 of 64 values are not finite"):
        net.finite_logits(0)


def test_rival_file_overflow_of_one_input_is_an_error(model: Bundle, source: Source, tmp_path: Path) -> None:
    dark, bright = np.zeros((1, 1, 4, 4), np.float32), np.full((1, 1, 4, 4), 3e38, np.float32)
    net = rival(net_of(tmp_path, np.full((16, 4), 9)), model, source.inputs, [dark, bright])
    assert predict_static(net, 1, 1.0).probability.tolist() == [0.25]
    with pytest.raises(ArtefactError, match="for input 1: its weights are finite, so numbers overflow on the way"):
        predict_static(net, 2, 1.0)
