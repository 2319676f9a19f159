"""Cascades of networks that read one photograph in several sizes, from a folder to both runtimes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eetool_runtime as ee
from eetool.data.image_form import model_form
from eetool.data.registry import load_source
from eetool.data.views import take_examples
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.prediction_target import open_target
from eetool.latency.estimate.recorded_model import RecordedModel
from eetool.latency.estimate.view_costs import VIEWS_NOTE
from eetool.model.checkpoint import load_checkpoint
from eetool.profile.profiler import SCHEMA as PROFILE
from eetool.profile.profiler import Profile
from eetool.records import read_record
from eetool.train.exit_answers import every_exit_logits
from eetool.tune.device_costs import measured_costs
from eetool_runtime import open_bundle
from eetool_runtime.views import View
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.photographs import write_photographs

pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture(scope="module")
def made(once: Callable[..., Path], cli: Callable[..., Any]) -> Path:
    """A folder with photographs of two classes, networks of 16 and 24 pixels, their tuned cascade and its bundle."""

    def make(folder: Path) -> None:
        write_photographs(folder / "photos")
        for side, backbone in ((16, "resnet-8x0-16x1"), (24, "resnet8")):
            data = f"folder:{folder / 'photos'}@{side}"
            options = ("--exits", 0, "--epochs", 2, "--batch-size", 16, "-o", folder / f"{side}.pt")
            assert cli("train", backbone, "--data", data, *options).code == 0
        model, data = folder / "m.pt", ("--data", f"folder:{folder / 'photos'}")
        parts = (folder / "16.pt", folder / "24.pt")
        result = cli("cascade", *parts, "--together", "--fit-order", *data, "--max-accuracy-drop", 0, "-o", model)
        assert result.code == 0, result
        assert cli("cascade", *parts, "-o", model, "--force").code == 0
        assert cli("tune", model, *data, "--max-accuracy-drop", 20).code == 0
        assert cli("export", model, "-o", folder / "m.eebundle").code == 0

    return once("cascade-views", make)


@pytest.fixture
def photo(made: Path) -> Path:
    return made / "photos/light/3.png"


def test_views_inputs_are_named_by_their_size(made: Path) -> None:
    spec = load_checkpoint(made / "m.pt").record.spec
    assert [(i.name, i.shape[1:], i.picture) for i in spec.inputs] == [
        ("image_16", (3, 16, 16), "image"),
        ("image_24", (3, 24, 24), "image"),
    ]
    assert [member.reads for member in spec.members] == [("image_16",), ("image_24",)]


def test_views_runtime_gives_the_logits_of_torch(made: Path) -> None:
    checkpoint = load_checkpoint(made / "m.pt")
    form = model_form(checkpoint.record.spec.inputs, "m.pt")
    source = load_source(f"folder:{made / 'photos'}", form=form)
    examples = take_examples(source, np.arange(0, 120, 30))
    expected = every_exit_logits(checkpoint, examples)
    runtime = ee.load(made / "m.eebundle")
    for row, name in enumerate(("dark/0", "dark/36", "light/0", "light/36")):  # names are sorted as texts
        inputs = runtime.preprocess(made / "photos" / f"{name}.png")
        for (logits, _), reference in zip(runtime.every_exit(inputs), expected, strict=True):
            assert np.allclose(logits[0], reference[row].numpy(), atol=1e-3)


def test_views_later_view_is_made_when_its_network_is_reached(made: Path, photo: Path) -> None:
    runtime = ee.load(made / "m.eebundle", preload=False)
    inputs = runtime.preprocess(photo)
    assert isinstance(inputs["image_24"], View)
    runtime.use(threshold=0.0)
    assert runtime(inputs).exit == 0
    assert runtime(inputs, deadline_ms=1000).exit == 0
    assert not inputs["image_24"].is_made
    assert runtime.memory()["loaded"] == ["exit0"]
    runtime.use("full")
    lazily = runtime(inputs)
    assert inputs["image_24"].is_made
    at_once = runtime({name: np.asarray(x.array() if isinstance(x, View) else x) for name, x in inputs.items()})
    assert lazily.exit == at_once.exit == 1
    assert np.array_equal(lazily.probabilities, at_once.probabilities)
    assert [result.exit for result in runtime.batch(inputs)] == [1]
    old = runtime.preprocess(np.zeros((30, 30, 3), np.uint8))
    assert not np.array_equal(runtime(old).probabilities, lazily.probabilities), "no view of an earlier call is used"


def test_views_native_runtime_takes_one_picture(made: Path, photo: Path, native: Library) -> None:
    pixels = np.array(Image.open(photo))
    ours, theirs = ee.load(made / "m.eebundle"), native.load(made / "m.eebundle", engine=onnxruntime_library())
    expected = ours(ours.preprocess(pixels))
    theirs.set_pixels(None, pixels)
    pixels[:] = 0  # the session has a copy of what it has not made yet
    result = theirs.run()
    assert (result.exit, result.label) == (expected.exit, expected.label)
    assert result.confidence == pytest.approx(expected.confidence, abs=1e-4)


def test_views_run_bench_and_estimate(cli: Callable[..., Any], made: Path, photo: Path) -> None:
    bundle = made / "m.eebundle"
    document = cli("run", bundle, photo, "--json").document
    assert document["results"][0]["label"] in ("dark", "light")
    bench = cli("bench", bundle, "--data", f"folder:{made / 'photos'}", "--passes", 2)
    assert bench.code == 0, bench
    assert "latencies include the resizing" in bench.stdout
    estimate = cli("estimate", bundle, "--device", "rpi4")
    assert estimate.code == 0, estimate
    assert "resizing" in estimate.stdout + estimate.stderr
    assert cli("inspect", bundle).code == 0
    assert cli("verify", bundle).code == 0


def test_views_profile_measures_their_making_and_tune_charges_it(
    cli: Callable[..., Any], made: Path, tmp_path: Path
) -> None:
    bundle, profile = made / "m.eebundle", tmp_path / "p.json"
    short = ("--threads", 1, "--runs", 10, "--min-seconds", 0, "--accept-unstable")
    measured = cli("profile", bundle, *short, "--picture", "240x320", "-o", profile)
    assert measured.code == 0, measured
    assert "array of 240x320 pixels" in measured.stdout
    views = read_record(Profile, profile, PROFILE).chosen.views
    assert [(view.input, view.picture) for view in views] == [("image_16", (240, 320)), ("image_24", (240, 320))]
    document = read_record(Profile, profile, PROFILE)
    costs = measured_costs(document, profile, open_bundle(bundle))
    times = [c.latency_ms.median for c in document.chosen.components]
    gates_ms = 2 * max(document.chosen.cascade[-1].runtime_us_per_component.median, 0.0) / 1e3
    making_ms = views[1].latency_ms.median
    assert costs.costs.leaving((0.5,)) == pytest.approx([times[0] + gates_ms / 2, sum(times) + gates_ms + making_ms])
    with open_target(made / "m.pt", temporary_bundle) as recorded:
        assert isinstance(recorded, RecordedModel)
        assert measured_costs(document, profile, recorded) == costs
    assert costs.omitted == ()

    old = replace(document, thread_counts=tuple(replace(t, views=()) for t in document.thread_counts))
    assert measured_costs(old, profile, open_bundle(bundle)).omitted == (VIEWS_NOTE,)
    data = ("--data", f"folder:{made / 'photos'}", "--max-accuracy-drop", 20)
    tuned = cli("tune", bundle, *data, "--profile", profile, "-o", tmp_path / "tuned.eebundle")
    assert tuned.code == 0, tuned
    assert "resizing" not in tuned.stdout + tuned.stderr
    predicted = cli("tune", made / "m.pt", *data, "--device", "rpi4", "-o", tmp_path / "tuned.pt")
    assert predicted.code == 0, predicted
    assert "resizing" in predicted.stdout + predicted.stderr
    assert cli("profile", bundle, "--picture", "0x3").code == 2


def test_views_int8_is_calibrated_on_every_size(cli: Callable[..., Any], made: Path, tmp_path: Path) -> None:
    options = ("--precision", "int8", "--no-reference", "--calibration-data", f"folder:{made / 'photos'}")
    result = cli("export", made / "m.pt", *options, "-o", tmp_path / "m.eebundle")
    assert result.code == 0, result
    assert "few samples" not in result.stderr


def test_views_data_of_one_size_are_refused(
    refused: Callable[..., None], made: Path, trained: Path, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "x.pt")
    refused(2, "reads every image in 2 sizes", "tune", made / "m.pt", "--data", "digits", *output)
    refused(2, "classes", "cascade", made / "16.pt", trained, *output)
    (tmp_path / "x.npy").write_bytes(b"")
    refused(3, "x.npy", "run", made / "m.eebundle", tmp_path / "x.npy")
