"""Models of a benchmark: their predictions, and the files that are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from eetool.bench.contenders import bench_inputs, bundle_contenders, static_contender, with_unique_names
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool_runtime import Model, load
from eetool_runtime.errors import BackendError
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import Text
from tests.helpers.tiny_bundle import write_tiny_bundle
from tests.helpers.tiny_graphs import CLASSES


@pytest.fixture
def model(bundle: Path) -> Model:
    return load(bundle)


def test_bundle_contenders_are_unsplit_and_every_point(model: Model, source: Source) -> None:
    contenders = bundle_contenders(model, bench_inputs(model.bundle, source.inputs))
    assert [c.name for c in contenders] == ["unsplit", "full", "balanced", "fast"]
    for contender in contenders:
        contender.prepare()
        for image in (0, 30, 63):
            outcome = contender.predict(image)
            assert contender.classify(image) == outcome.probabilities.argmax()
            assert outcome.probabilities.sum() == pytest.approx(1)
            assert (outcome.exit is None) == (contender.name == "unsplit")


def test_bundle_contenders_share_one_model(model: Model, source: Source) -> None:
    _, full, _, fast = bundle_contenders(model, bench_inputs(model.bundle, source.inputs))
    fast.prepare()
    assert model.operating_point == "fast"
    full.prepare()
    assert full.predict(63).exit == model.bundle.manifest.n_early_exits


def test_cascade_contender_macs_by_exit(model: Model, source: Source) -> None:
    _, full, balanced, _ = bundle_contenders(model, bench_inputs(model.bundle, source.inputs))
    manifest = model.bundle.manifest
    every = [stage.macs for stage in plan_steps(manifest, (0.5, 0.5)) if stage.gate is not None]
    assert balanced.macs == dict(enumerate(every))
    assert full.macs == {2: plan_steps(manifest, (None, None))[-1].macs}


def test_static_contender_finds_logits_by_name(model: Model, source: Source, write_net) -> None:  # type: ignore[no-untyped-def]
    """The first output of this network has the opposite logits."""
    net = static_contender(write_net(), model, source.inputs, bench_inputs(model.bundle, source.inputs))
    right = np.repeat(np.arange(CLASSES)[None], 16, axis=0).ravel()
    assert [net.classify(i) for i in range(64)] == right.tolist()
    assert net.name == "net.onnx"
    assert net.macs is None


def test_static_contender_failing_later_raises_backend_error(model: Model, source: Source, tmp_path: Path) -> None:
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
    net = static_contender(path, model, source.inputs, [dark, bright])
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
def test_static_contender_unfitting_network_raises_artefact_error(  # type: ignore[no-untyped-def,type-arg]
    model: Model, source: Source, write_net, net: dict, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        static_contender(write_net(**net), model, source.inputs, bench_inputs(model.bundle, source.inputs))


def test_static_contender_invalid_file_raises_artefact_error(model: Model, source: Source, tmp_path: Path) -> None:
    inputs = bench_inputs(model.bundle, source.inputs)
    (tmp_path / "notes.txt").write_text("not a net")
    for name, message in (("notes.txt", "cannot be read as an ONNX file"), ("nothing.onnx", "does not exist")):
        with pytest.raises(ArtefactError, match=message):
            static_contender(tmp_path / name, model, source.inputs, inputs)


def test_static_contender_bundle_uses_its_unsplit_backbone(model: Model, source: Source, tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path, name="other", early_exits=1)
    net = static_contender(path, model, source.inputs, bench_inputs(model.bundle, source.inputs))
    assert net.name == "other.eebundle"
    assert net.predict(63).exit is None
    assert net.macs is not None


def test_static_contender_unfitting_bundle_raises_artefact_error(model: Model, source: Source, tmp_path: Path) -> None:
    inputs = bench_inputs(model.bundle, source.inputs)
    stripped = write_tiny_bundle(tmp_path, name="stripped", references=False)
    with pytest.raises(ArtefactError, match="no reference/unsplit") as refused:
        static_contender(stripped, model, source.inputs, inputs)
    assert refused.value.hint is not None
    assert "--no-reference" in refused.value.hint
    with pytest.raises(ArtefactError, match="no reference/unsplit"):
        bundle_contenders(load(stripped), inputs)
    renamed = write_tiny_bundle(tmp_path, name="renamed", labels=("a", "b", "c", "d"))
    with pytest.raises(ArtefactError, match="other classes"):
        static_contender(renamed, model, source.inputs, inputs)


def test_static_contender_bundle_with_another_vocabulary_raises_artefact_error(
    model: Model, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_bundle(tmp_path, name="other")
    inputs = bench_inputs(model.bundle, source.inputs)
    texts = replace(model.bundle.manifest.inputs[0], text=Text(("word",)))
    monkeypatch.setitem(vars(model.bundle), "manifest", replace(model.bundle.manifest, inputs=(texts,)))
    with pytest.raises(
        ArtefactError, match=r"other\.eebundle: has another vocabulary than .*, so its token ids differ"
    ):
        static_contender(path, model, source.inputs, inputs)


def test_bench_inputs_other_shape_raises_artefact_error(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="takes images of 1x4x4, and the data has uint8 of 3x4x4"):
        bench_inputs(model.bundle, np.zeros((2, 3, 4, 4), np.uint8))
    two_inputs = load(write_tiny_bundle(tmp_path, name="two", ids=True))
    with pytest.raises(ArtefactError, match="it has 2 inputs"):
        bench_inputs(two_inputs.bundle, np.zeros((2, 1, 4, 4), np.uint8))


def test_with_unique_names_appends_number(model: Model, source: Source, write_net) -> None:  # type: ignore[no-untyped-def]
    inputs = bench_inputs(model.bundle, source.inputs)
    nets = [static_contender(write_net(), model, source.inputs, inputs) for _ in range(3)]
    assert [c.name for c in with_unique_names(nets)] == ["net.onnx", "net.onnx (2)", "net.onnx (3)"]


def net_of(folder: Path, weight: np.ndarray, beside: bool = False) -> Path:
    """Write a network of one product, whose weight may lie in a file beside it."""
    text = """<ir_version: 8, opset_import: ["" : 18]>
    net (float[batch, 1, 4, 4] image) => (float[batch, 4] logits) { f = Flatten (image) logits = MatMul (f, w) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(np.float32), "w"))
    places = {"save_as_external_data": True, "location": "net.onnx.data", "size_threshold": 0} if beside else {}
    onnx.save(proto, str(folder / "net.onnx"), **places)
    return folder / "net.onnx"


def test_static_contender_weights_beside_the_file_are_used(model: Model, source: Source, tmp_path: Path) -> None:
    weight, inputs = np.eye(16, 4), bench_inputs(model.bundle, source.inputs)
    path = net_of(tmp_path, weight, beside=True)
    net = static_contender(path, model, source.inputs, inputs)
    assert [net.classify(i) for i in range(64)] == [int(x.reshape(16)[:4].argmax()) for x in inputs]
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(ArtefactError, match=r"its weights lie in 'net.onnx.data', which is missing") as caught:
        static_contender(path, model, source.inputs, inputs)
    assert caught.value.hint == "Copy net.onnx.data into the folder of net.onnx."


@pytest.mark.parametrize("beside", [False, True])
def test_static_contender_nan_is_traced_to_its_weight(
    model: Model, source: Source, tmp_path: Path, beside: bool
) -> None:
    weight = np.eye(16, 4)
    weight[3, 1] = np.nan
    net = static_contender(
        net_of(tmp_path, weight, beside), model, source.inputs, bench_inputs(model.bundle, source.inputs)
    )
    with pytest.raises(ArtefactError, match="NaN or infinite logits for input 0: w: 1 of 64 values are not finite"):
        net.predict(0)


def test_static_contender_overflow_of_one_input_is_an_error(model: Model, source: Source, tmp_path: Path) -> None:
    dark, bright = np.zeros((1, 1, 4, 4), np.float32), np.full((1, 1, 4, 4), 3e38, np.float32)
    net = static_contender(net_of(tmp_path, np.full((16, 4), 9)), model, source.inputs, [dark, bright])
    assert net.predict(0).probabilities.tolist() == [0.25] * 4
    with pytest.raises(ArtefactError, match="for input 1: its weights are finite, so numbers overflow on the way"):
        net.predict(1)
