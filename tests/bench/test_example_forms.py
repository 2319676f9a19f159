"""Examples as the inputs of networks of different image sizes, made a few at a time."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eetool.bench.benchmark import BenchRules, bench_bundle
from eetool.bench.example_forms import BenchInputs, PictureViews, example_forms
from eetool.bench.interleaved_timing import TimingRules
from eetool.data.image_form import model_form
from eetool.data.model_inputs import model_inputs
from eetool.data.registry import image_reader, load_source
from eetool.data.rows import Rows
from eetool.data.source import Source
from eetool.data.views import Views
from eetool.errors import ArtefactError
from eetool_runtime.bundle import Bundle, open_bundle
from eetool_runtime.manifest import Input, Preprocess, Resize
from eetool_runtime.preprocess import picture_pixels
from eetool_runtime.views import View
from tests.helpers.tiny_bundle import LABELS, pixels

QUICK = BenchRules(100.0, timing=TimingRules(1, 0))
SPEC = Input("image", "float32", ("batch", 3, 64, 64), Preprocess(1 / 255, (0.5,) * 3, (0.5,) * 3))


def test_bench_inputs_keep_a_block_and_not_all_examples() -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 64, 64), np.uint8)
    rows = BenchInputs(Rows(images, np.arange(199, -1, -1)), [SPEC])
    tracemalloc.start()
    for start in range(0, 200, 20):
        rows.prepare(range(start, start + 20))
        assert all(rows[i] is rows[i] for i in range(start, start + 20)), "made before it is timed"
        np.testing.assert_array_equal(rows[start], model_inputs(images[[199 - start]], SPEC))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50 * np.asarray(rows[0]).nbytes
    assert len(list(rows)) == 200


@pytest.fixture
def photographs(tmp_path: Path) -> str:
    """Return a folder of photographs of several sizes; one row of four is bright, and its number is the class."""
    for number in range(8):
        for label, name in enumerate(sorted(LABELS)):
            folder = tmp_path / "photographs" / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(label, 1 + number / 8)).resize((12 + number, 16), 0).save(folder / f"{number}.png")
    return f"folder:{tmp_path / 'photographs'}"


def with_rule(path: Path, fit: str = "stretch", size: tuple[int, int] = (4, 4)) -> Bundle:
    """Return a bundle whose manifest has a rule of resizing, to images of this size."""
    bundle = open_bundle(path)
    spec = bundle.manifest.inputs[0]
    assert spec.preprocess is not None
    resized = replace(spec, shape=("batch", 1, *size), preprocess=replace(spec.preprocess, resize=Resize(fit)))
    vars(bundle)["manifest"] = replace(bundle.manifest, inputs=(resized,), labels=tuple(sorted(LABELS)))
    return bundle


def read(bundle: Bundle, photographs: str) -> Source:
    return load_source(photographs, form=model_form(bundle.manifest.inputs, "the bundle"))


def test_bench_bundle_network_of_another_size_reads_the_photographs_in_its_own(
    photographs: str, bundle: Path, write_net: Callable[..., Path]
) -> None:
    net, ours = write_net(shape="batch, 1, 4, 8"), with_rule(bundle)
    source = read(ours, photographs)
    every = np.arange(len(source.labels))
    bench = bench_bundle(ours, source, every, "test", [net], QUICK, reread=image_reader(photographs))
    assert {way.name: way.accuracy for way in bench.ways}["net.onnx"] == 1.0
    with pytest.raises(ArtefactError, match=r"net\.onnx: takes images of 4x8 \(stretch\), and these are 4x4"):
        bench_bundle(ours, source, every, "test", [net], QUICK)


def test_example_forms_bundle_of_another_rule_reads_the_photographs_by_it(photographs: str, bundle: Path) -> None:
    ours = with_rule(bundle)
    source, chosen = read(ours, photographs), np.array([3, 1])
    forms = example_forms(ours, source, chosen, image_reader(f"{photographs}@4"))  # the size gives way
    for other in (with_rule(bundle), with_rule(bundle, "pad"), with_rule(bundle, "crop", (6, 8))):
        inputs, expected = forms.of_bundle(other), read(other, photographs).inputs[chosen]
        np.testing.assert_array_equal(np.concatenate(list(inputs)), model_inputs(expected, other.manifest.inputs[0]))
    with pytest.raises(ArtefactError, match=r"4x4 \(pad\), and these are 4x4 \(stretch\)"):
        example_forms(ours, source, chosen, None).of_bundle(with_rule(bundle, "pad"))


def test_example_forms_changed_folder_is_refused(photographs: str, bundle: Path) -> None:
    ours = with_rule(bundle)
    forms = example_forms(ours, read(ours, photographs), np.arange(2), image_reader(photographs))
    next(Path(photographs.partition(":")[2]).rglob("*.png")).unlink()
    with pytest.raises(ArtefactError, match="changed meanwhile"):
        forms.of_bundle(with_rule(bundle, "pad"))


def test_picture_views_later_ones_are_made_anew_in_every_call() -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.ones(3)

    spec = Input("b", "float32", ("batch", 3), picture="photo")
    views = PictureViews({"a": np.zeros(2), "b": np.ones(3)}, {"b": View(spec, make)})
    for number in range(1, 3):
        given = views.for_call()
        assert isinstance(given["b"], View)
        assert not given["b"].is_made
        assert isinstance(given["a"], np.ndarray)
        given["b"].array()
        assert len(made) == number
    assert views.read(["b"])[0] is views["b"], "the first view that a graph reads is made before the call"
    assert len(made) == 2
    assert len(views.read(["a", "b"])) == 2
    assert len(made) == 3


def test_bench_inputs_of_several_sizes_are_made_of_the_files_when_prepared(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    rule = Preprocess(1 / 255, (0.0,) * 3, (1.0,) * 3, Resize("crop"))
    specs = [Input(f"x{n}", "float32", ("batch", 3, n, n), rule, picture="photo") for n in (4, 6)]
    arrays = [np.ascontiguousarray(picture_pixels(tmp_path / "p.png", s).transpose(2, 0, 1)[None]) for s in specs]
    inputs = BenchInputs(Views(arrays), specs, [tmp_path / "p.png"])
    assert not isinstance(inputs[0], PictureViews)
    inputs.prepare([0])
    prepared = inputs[0]
    assert isinstance(prepared, PictureViews)
    first, later = prepared.for_call().values()
    assert isinstance(first, np.ndarray)
    assert isinstance(later, View)
    np.testing.assert_array_equal(later.array(), prepared["x6"])
