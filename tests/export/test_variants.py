"""One trained net through every variant: what comes out, how it is proved, and what the errors say."""

import dataclasses
import importlib.util
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.source import Source
from eetool.data.splits import HELD_OUT
from eetool.errors import ArtefactError, MissingError, UsageError, VerificationError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.parity import component_parity
from eetool.export.variants import VARIANTS, find_variants
from eetool.graphs.calibration_feeds import save_feeds
from eetool.graphs.quantize import QuantizationJob, quantize
from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.model.checkpoint import Checkpoint, load_checkpoint
from eetool.progress import Advance, Silent
from eetool_runtime import Bundle, Result, load, open_bundle
from eetool_runtime.backends import Threads, open_graph
from eetool_runtime.errors import BackendError
from eetool_runtime.manifest import MAX_SAMPLES_TOLERANCES
from tests.helpers.backend_contract import GOLDEN

Cli = Callable[..., Any]  # see tests/conftest.py
HAS_TFLITE = all(importlib.util.find_spec(name) for name in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"))
needs_tflite = pytest.mark.skipif(not HAS_TFLITE, reason="the extra eetool[tflite] is not installed")
FORMATS = ["onnx", pytest.param("tflite", marks=needs_tflite)]
pytestmark = pytest.mark.usefixtures("converted_once")
NAMES = [
    name if name.startswith("onnx") else pytest.param(name, marks=needs_tflite)
    for name in VARIANTS
    if not name.startswith("tflm")  # its tests are in test_full_integer.py
]


def test_variants_largest_samples_tolerance_is_what_the_reader_allows() -> None:
    for precision, most in MAX_SAMPLES_TOLERANCES.items():
        kinds = [kind for kind in VARIANTS.values() if kind.precision == precision]
        assert max(kind.samples_tolerance for kind in kinds) == most
    assert {kind.precision for kind in VARIANTS.values()} == set(MAX_SAMPLES_TOLERANCES)


def test_inspect_names_int8_components(cli: Cli, all_variants: Path, opened: Bundle) -> None:
    graphs = opened.manifest.variants["onnx/int8"].components
    names = [name for name, graph in graphs.items() if graph.precision == "int8"]
    assert names
    assert f"int8: {', '.join(names)}" in cli("inspect", all_variants).stdout


@pytest.fixture(scope="module")
def opened(all_variants: Path) -> Bundle:
    return open_bundle(all_variants)


@pytest.fixture(scope="module")
def checkpoint(tuned: Path) -> Checkpoint:
    return load_checkpoint(tuned)


@pytest.mark.parametrize("graph_format", FORMATS)
def test_export_float_components_are_within_tolerance(opened: Bundle, graph_format: str) -> None:
    variant = opened.manifest.variants[f"{graph_format}/fp32"]
    assert {graph.precision for graph in variant.components.values()} == {"fp32"}
    for graph in variant.components.values():
        assert graph.tolerance is not None
        assert 0 < graph.max_abs_error <= graph.tolerance


@pytest.mark.parametrize("graph_format", FORMATS)
def test_export_int8_components_are_smaller_and_record_their_error(opened: Bundle, graph_format: str) -> None:
    manifest = opened.manifest
    floats = manifest.variants[f"{graph_format}/fp32"].components
    quantised = {n: g for n, g in manifest.variants[f"{graph_format}/int8"].components.items() if g.precision == "int8"}
    assert {"seg0", "seg1", "exit2"} <= set(quantised)
    for name, graph in quantised.items():
        assert manifest.files[graph.path].size_bytes < manifest.files[floats[name].path].size_bytes
        assert graph.tolerance is None
        assert graph.max_abs_error > floats[name].max_abs_error


def test_export_int8_variant_shares_files_of_float_components(opened: Bundle) -> None:
    floats = opened.manifest.variants["onnx/fp32"].components
    for name, graph in opened.manifest.variants["onnx/int8"].components.items():
        if graph.precision == "fp32":
            assert graph == floats[name]


@pytest.mark.parametrize("name", NAMES)
def test_export_every_variant_agrees_with_the_model(
    opened: Bundle, name: str, digits: Source, checkpoint: Checkpoint
) -> None:
    from eetool.train.exit_answers import every_exit_logits

    model, images = load(opened, variant=name), digits.inputs[:50]
    inputs = np.concatenate([model.preprocess(image.transpose(1, 2, 0)) for image in images])
    reference = [logits.numpy() for logits in every_exit_logits(checkpoint, images)]
    for (logits, confidence), expected in zip(model.every_exit(inputs), reference, strict=True):
        assert logits.shape == expected.shape
        assert confidence.shape == (50,)
        agreement = (logits.argmax(1) == expected.argmax(1)).mean()
        assert agreement == 1 if name.endswith("fp32") else agreement >= 0.8
        if name.endswith("fp32"):
            assert np.abs(logits - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_model_call_and_every_exit_agree_at_batch_1(opened: Bundle, name: str) -> None:
    model = load(opened, variant=name)
    inputs = opened.arrays(opened.manifest.samples)["input"]
    every = model.every_exit(inputs)
    for i in range(len(inputs)):
        result = model(inputs[i : i + 1])
        np.testing.assert_allclose(result.logits, every[result.exit][0][i], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def file_per_component(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A TFLite bundle as version 1.0 of the format has it. Read only."""
    path = tmp_path_factory.mktemp("separate") / "model.eebundle"
    export_bundle(checkpoint, path, ExportOptions(("tflite/fp32",), references=False, share_files=False))
    return open_bundle(path)


@pytest.mark.parametrize("graph_format", FORMATS)
def test_quantize_keeps_the_extremes_of_one_feed_among_many(
    request: pytest.FixtureRequest, graph_format: str, tmp_path: Path
) -> None:
    """A range that is averaged over the feeds clips the rare one."""
    bundle: Bundle = request.getfixturevalue("opened" if graph_format == "onnx" else "file_per_component")
    source = bundle.file(bundle.manifest.variants[f"{graph_format}/fp32"].components["seg0"].path)
    samples = bundle.arrays(bundle.manifest.samples)["input"]
    cases = [{"input": samples[i % len(samples)][None]} for i in range(20)]
    rare = {"input": 5 * samples[:1]}
    feeds = save_feeds(tmp_path / "feeds", ["input"], [*cases[:10], rare, *cases[10:]])
    target = tmp_path / f"int8.{graph_format}"
    job = QuantizationJob(f"{graph_format}-static", str(source), str(target), feeds)
    assert quantize([job]) == [None]
    exact = open_graph(source)
    expected = dict(zip(exact.outputs, exact.run(rare), strict=True))
    assert component_parity(target, ("input",), tuple(exact.outputs), [{**rare, **expected}], 1.0).relative_rms < 0.05


@needs_tflite
def test_export_tflite_components_share_a_file_from_version_1_1_on(opened: Bundle, file_per_component: Bundle) -> None:
    old, new = (bundle.manifest for bundle in (file_per_component, opened))
    assert (old.schema_version, new.schema_version) == ("1.0", "1.1")
    assert old.variants["tflite/fp32"].shared_file is None
    assert {name: v.shared_file for name, v in new.variants.items()} == {
        "onnx/fp32": None,
        "onnx/int8": None,
        "tflite/fp32": "components/tflite-fp32/model.tflites",
        "tflite/int8": "components/tflite-int8/model.tflites",
    }
    assert not list(opened.path.glob("components/*/tflite-*"))


@needs_tflite
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("preload", [True, False])
def test_tflite_shared_file_gives_the_answers_of_a_file_per_component(
    opened: Bundle, file_per_component: Bundle, threads: int, preload: bool
) -> None:
    inputs = opened.arrays(opened.manifest.samples)["input"]
    names = [c.name for c in opened.manifest.components]
    apart, together = (
        load(bundle, variant="tflite/fp32", threads=threads, preload=preload) for bundle in (file_per_component, opened)
    )
    assert len({id(graph.group) for graph in together._graphs.values()}) == 1  # type: ignore[attr-defined]
    assert together.threads == Threads(threads)
    assert together.memory()["loaded"] == names
    assert apart.memory()["not_loaded"] == ([] if preload else names[2:])
    assert together.memory()["loaded_bytes"] == opened.manifest.files["components/tflite-fp32/model.tflites"].size_bytes
    for here, there in zip(apart.every_exit(inputs), together.every_exit(inputs), strict=True):
        np.testing.assert_array_equal(here[0], there[0])
        np.testing.assert_array_equal(here[1], there[1])
    for point in ("fast", "full"):
        apart.use(point)
        together.use(point)
        for i in range(len(inputs)):
            here, there = apart(inputs[i : i + 1]), together(inputs[i : i + 1])
            assert (here.exit, here.confidence) == (there.exit, there.confidence)
            np.testing.assert_array_equal(here.logits, there.logits)
    anytime = together(inputs[:1], deadline_ms=1e6)
    np.testing.assert_array_equal(anytime.logits, together(inputs[:1]).logits)


@needs_tflite
def test_tflite_shared_file_has_the_kernels_of_a_file_per_component(
    opened: Bundle, file_per_component: Bundle, tmp_path: Path
) -> None:
    apart, together = (target_of_variant(b, "tflite/fp32", 1).graphs for b in (file_per_component, opened))
    assert together == apart
    other = replace_shared_file(opened, tmp_path)
    with pytest.raises(ArtefactError, match=r"model\.tflites: has no signature 'exit0'"):
        target_of_variant(other, "tflite/fp32", 1)


def replace_shared_file(bundle: Bundle, folder: Path) -> Bundle:
    """Return an opened bundle whose shared file became that of another network afterwards."""
    path = folder / "components/tflite-fp32/model.tflites"
    path.parent.mkdir(parents=True)
    shutil.copyfile(GOLDEN / "contract_and_answer.tflite", path)
    return dataclasses.replace(bundle, path=folder)


@needs_tflite
def test_tflite_shared_file_is_released_after_errors(opened: Bundle) -> None:
    model, x = load(opened, variant="tflite/fp32"), opened.arrays(opened.manifest.samples)["input"][:1]

    def fail() -> None:
        raise ArithmeticError("no memory")

    lane = model._contexts.acquire()
    sound, lane.calls[0] = lane.calls[0], fail
    model._contexts.release(lane)
    with pytest.raises(BackendError, match="no memory"):
        model(x)
    lane.calls[0] = sound
    with pytest.raises(UsageError):
        model(x, min_exit=9)
    answers: list[Result] = []
    worker = threading.Thread(target=lambda: answers.append(model(x)), daemon=True)
    worker.start()
    worker.join(60)
    assert [a.exit for a in answers] == [model(x).exit]


@pytest.mark.parametrize("graph_format", FORMATS)
def test_export_int8_variant_has_its_own_policy_and_figures(opened: Bundle, graph_format: str) -> None:
    floats, quantised = (opened.manifest.variants[f"{graph_format}/{p}"] for p in ("fp32", "int8"))
    assert quantised.temperatures != floats.temperatures
    assert set(quantised.operating_points) == set(floats.operating_points)
    for point in quantised.operating_points.values():
        assert point.expected is not None
        assert point.expected.split == HELD_OUT


def test_verify_checks_every_variant(all_variants: Path, cli: Cli) -> None:
    document = cli("verify", all_variants, "--json").document
    checked = {check["what"].split()[0] for check in document["checks"]}
    assert checked == set(open_bundle(all_variants).manifest.variants)
    assert document["skipped"] == {}


@needs_tflite
def test_verify_missing_backend_lists_skipped_variants(
    all_variants: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, module, None)  # makes the import fail
    monkeypatch.delitem(sys.modules, "eetool_runtime.backends.litert", raising=False)
    document = cli("verify", all_variants, "--json").document
    assert set(document["skipped"]) == {"tflite/fp32", "tflite/int8"}
    assert "pip install eetool-runtime[tflite]" in document["skipped"]["tflite/fp32"]
    assert document["checks"]


class Bars(Silent):
    """Progress that keeps every step of every bar."""

    def __init__(self) -> None:
        self.totals, self.steps = dict[str, int](), dict[str, list[int]]()

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.totals[what], self.steps[what] = total, []
        yield lambda steps: self.steps[what].append(steps) if steps else None


def test_export_int8_alone_removes_unused_float_graphs(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "b.eebundle"
    bars = Bars()
    options = ExportOptions(("onnx/int8",), references=False, judge_speed=False)
    manifest = export_bundle(checkpoint, path, options, bars).manifest
    assert set(manifest.variants) == {"onnx/int8"}
    assert bars.steps["exporting"] == [1] * bars.totals["exporting"]
    assert bars.totals["exporting"] == 3 * len(manifest.components) + 2, "float, quantised, chosen; and the variant"
    used = {graph.path for graph in manifest.variants["onnx/int8"].components.values()}
    found = {file.relative_to(path).as_posix() for file in path.glob("components/**/model.*")}
    assert found == used
    points = manifest.variants["onnx/int8"].operating_points
    assert all(point.expected is None for point in points.values())  # nobody measured these graphs


def test_export_calibration_of_another_shape_raises_usage_error(checkpoint: Checkpoint, tmp_path: Path) -> None:
    wrong = {"input": np.zeros((4, 3, 32, 32), np.float32)}
    with pytest.raises(Exception, match=r"input 'input': expected shape .*found \(4, 3, 32, 32\)") as caught:
        export_bundle(checkpoint, tmp_path / "b.eebundle", ExportOptions(("onnx/int8",), calibration=wrong))
    assert caught.value.exit_code == 3  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"calibration needs the inputs \['input'\], found \['x'\]"):
        export_bundle(
            checkpoint, tmp_path / "b.eebundle", ExportOptions(("onnx/int8",), calibration={"x": wrong["input"]})
        )
    assert list(tmp_path.iterdir()) == []


def test_export_unknown_calibration_data_exits_with_2(tuned: Path, tmp_path: Path, cli: Cli) -> None:
    answered = cli("export", tuned, "-o", tmp_path / "b", "--precision", "int8", "--calibration-data", "noise")
    assert (answered.code, list(tmp_path.iterdir())) == (2, [])
    assert "unknown data source 'noise'" in answered.stderr


def test_find_variants_missing_extra_raises_missing_error_with_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(MissingError, match="the tflite format needs litert-torch") as caught:
        find_variants(("onnx/fp32", "tflite/fp32"))
    assert (caught.value.exit_code, caught.value.hint) == (5, "pip install eetool[tflite]")


@pytest.mark.parametrize(("names", "said"), [(("onnx/fp16",), "unknown variant 'onnx/fp16'"), ((), "no variant")])
def test_find_variants_unknown_name_raises_usage_error(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        find_variants(names)
    assert "tflite/int8" in str(caught.value.hint)


def test_export_failed_parity_lists_all_failures_and_leaves_nothing(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eetool.export import variants

    strict = dataclasses.replace(VARIANTS["onnx/fp32"], relative=1e-12)
    monkeypatch.setitem(variants.VARIANTS, "onnx/fp32", strict)
    with pytest.raises(VerificationError, match="graphs differ from the model") as caught:
        export_bundle(checkpoint, tmp_path / "b.eebundle", ExportOptions(references=False))
    for component in ("seg0", "exit0", "seg1", "exit1", "exit2"):
        assert f"components/{component}/onnx-fp32/model.onnx: error" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_verify_changed_int8_outputs_fail(all_variants: Path, tmp_path: Path, cli: Cli) -> None:
    from eetool.export.bundle_files import save_arrays, write_manifest

    path = shutil.copytree(all_variants, tmp_path / "b.eebundle")
    bundle = open_bundle(path)
    name = bundle.manifest.variants["onnx/int8"].samples
    arrays: dict[str, Any] = bundle.arrays(name)
    arrays["exit2_logits"] = -arrays["exit2_logits"]
    save_arrays(path / name, arrays)
    write_manifest(path, bundle.manifest)
    answered = cli("verify", path)
    assert answered.code == 4
    assert "onnx/int8 exit2_logits" in answered.stderr
