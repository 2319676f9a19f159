"""Photographs of many sizes through the commands: one rule of resizing, recorded by training and used by all others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eetool
from eetool.data.image_form import model_form
from eetool.data.registry import load_source
from eetool.errors import ArtefactError, UsageError
from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool_runtime import load
from eetool_runtime.manifest import Preprocess, Resize

SIDE = 16
CLASSES = ("dark", "light")
_SIZES = [(20, 30), (41, 24), (16, 16), (70, 18)]


def write_photographs(folder: Path, count: int, seed: int) -> None:
    """Write `count` noisy pictures of each class in four sizes."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            height, width = _SIZES[number % len(_SIZES)]
            pixels = rng.normal(70 + 110 * label, 15, (height, width, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="module")
def work(once: Any, cli: Any) -> Path:
    """Return a read-only folder with photographs, the model that was trained on them, and its bundle."""

    def make(folder: Path) -> None:
        write_photographs(folder / "photos", 30, 0)
        write_photographs(folder / "new", 3, 1)
        data = f"folder:{folder / 'photos'}"
        options = ("--exits", 1, "--branch", "linear", "--epochs", 1, "--batch-size", 8, "--normalize", "half")
        size = ("--input", f"3x{SIDE}x{SIDE}", "--fit", "pad")
        for command in (
            ("train", "resnet8", "--data", data, *size, *options, "-o", folder / "model.pt"),
            ("tune", folder / "model.pt", "--data", data, "--max-accuracy-drop", 50, "-o", folder / "tuned.pt"),
            ("export", folder / "tuned.pt", "--calibration-data", data, "-o", folder / "model.eebundle"),
        ):
            output = cli(*command)
            assert output.code == 0, output

    return once("photographs", make)


def test_train_records_rule_and_normalisation(work: Path) -> None:
    (spec,) = load_checkpoint(work / "model.pt").record.spec.inputs
    assert spec.shape == ("batch", 3, SIDE, SIDE)
    assert spec.preprocess is not None
    assert (spec.preprocess.mean, spec.preprocess.std) == ((0.5,) * 3, (0.5,) * 3)
    assert spec.preprocess.resize == Resize("pad")
    assert load(work / "model.eebundle").bundle.manifest.inputs == (spec,)


def test_run_folder_of_classes_prints_accuracy_and_what_was_resized(cli: Any, work: Path) -> None:
    output = cli("run", work / "model.eebundle", work / "new", "--json")
    document, first = output.document, work / "new/dark/00.png"
    assert [r["expected"] for r in document["results"]] == ["dark"] * 3 + ["light"] * 3
    right = sum(r["label"] == r["expected"] for r in document["results"])
    assert document["accuracy"] == {"n": 6, "right": right, "accuracy": right / 6}
    assert output.stderr.splitlines() == [f"resized to 16×16 (pad): 4 files, the first is {first}, 30×20"]
    model = load(work / "model.eebundle")
    result = model(model.preprocess(np.asarray(Image.open(first))))
    assert result.probabilities.tolist() == pytest.approx(document["results"][0]["probabilities"], abs=0.02)
    alone = cli("run", work / "model.eebundle", first)
    assert alone.stderr == f"{first}: 30×20 resized to 16×16 (pad)\n"
    assert "accuracy" not in alone.stdout
    assert f"{100 * right / 6:.2f} %, of 6 images" in cli("run", work / "model.eebundle", work / "new").stdout


def test_run_preprocess_path_equals_training_pixels(work: Path) -> None:
    model = load(work / "model.eebundle")
    source = load_source(f"folder:{work / 'photos'}@{SIDE}")
    assert source.resize == Resize("crop")
    form = model_form(load_checkpoint(work / "model.pt").record.spec.inputs, "model.pt")
    trained = load_source(f"folder:{work / 'photos'}", form=form)
    expected = (trained.inputs[0].astype(np.float32) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(model.preprocess(work / "photos/dark/00.png")[0], expected, atol=1e-6)


def test_bench_and_report_use_the_rule_of_the_bundle(cli: Any, work: Path, tmp_path: Path) -> None:
    data, bench, page = f"folder:{work / 'photos'}", tmp_path / "bench.json", tmp_path / "page.html"
    quick = ("--passes", 2, "--min-seconds", 0, "-o", bench)
    assert cli("bench", work / "model.eebundle", "--data", data, *quick).code == 0
    document = json.loads(bench.read_text())
    assert (document["data"]["shape"], document["data"]["fit"]) == ([3, SIDE, SIDE], "pad")
    assert cli("report", bench, "--data", data, "-o", page).code == 0
    assert "data:image/png;base64," in page.read_text()


def test_advise_takes_the_rule_of_the_model_and_names_it_in_its_commands(cli: Any, work: Path) -> None:
    options = ("--data", f"folder:{work / 'photos'}", "--examples", 40, "--epochs", 1, "--exits", 1)
    output = cli("advise", work / "model.pt", *options, "--json")
    assert output.code == 0, output
    for step in output.document["next"]:
        assert f"--input 3x{SIDE}x{SIDE} --fit pad" in step["commands"][0]
    assert "--normalize 0.5,0.5,0.5/0.5,0.5,0.5" in output.document["next"][0]["commands"][0]


def test_image_options_are_those_of_train_in_every_command(cli: Any, work: Path, tmp_path: Path) -> None:
    data, size = ("--data", f"folder:{work / 'photos'}"), ("--input", f"3x{SIDE}x{SIDE}", "--fit", "pad")
    quick = ("--passes", 2, "--min-seconds", 0, "--accept-unstable", "-o", tmp_path / "bench.json")
    short = ("--examples", 40, "--epochs", 1)
    search = ("--trials", 1, "--supernet-epochs", 1, "-o", tmp_path / "front.json", "--max-accuracy-drop", 90)
    for command in (
        ("tune", work / "model.pt", *data, *size, "--max-accuracy-drop", 50, "-o", tmp_path / "tuned.pt"),
        ("bench", work / "model.eebundle", *data, *size, *quick),
        ("report", tmp_path / "bench.json", *data, *size, "-o", tmp_path / "page.html"),
        ("estimate", work / "model.eebundle", "--device", "rpi4", *data, *size),
        ("search", "--space", "resnet", *data, *size, *search, *short),
    ):
        output = cli(*command)
        assert output.code == 0, output
    weights = ("--weights", work / "model.pt", "--normalize", "half", "--exits", 1)
    advice = cli("advise", "resnet8", *data, *size, *weights, *short, "--json")
    assert f"--input 3x{SIDE}x{SIDE} --fit pad" in advice.document["next"][0]["commands"][0]


def test_data_of_own_loops_has_the_rule_of_resizing_and_the_presets_of_train(work: Path) -> None:
    data = eetool.load_data(f"folder:{work / 'photos'}@{SIDE}", normalise="half")
    assert data.preprocess == Preprocess(1 / 255, (0.5,) * 3, (0.5,) * 3, Resize())
    padded = eetool.load_data(f"folder:{work / 'photos'}", size=(SIDE, 24), fit="pad")
    assert (padded.source.resize, padded.source.inputs.shape[1:]) == (Resize("pad"), (3, SIDE, 24))
    for wrong in ({"fit": "zoom"}, {"fit": "pad"}, {"size": "96"}, {"size": (1, 2, 3)}):
        with pytest.raises(UsageError):
            eetool.load_data(f"folder:{work / 'photos'}", **wrong)
    with pytest.raises(UsageError, match="fit no photographs of 'digits'"):
        eetool.load_data("digits", size=8)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("asks for images of 8x8, and MODEL takes 16x16 (pad)", ("tune", "MODEL", "--data", "PHOTOS@8")),
        ("asks for images of 8x8, and BUNDLE takes 16x16 (pad)", ("bench", "BUNDLE", "--data", "PHOTOS@8")),
        ("asks for images of 8x8, and --input takes", ("train", "resnet8", "--data", "PHOTOS@8", "--input", "3x9x9")),
        ("--input 1x5x9x9 is no size", ("train", "resnet8", "--data", "PHOTOS", "--input", "1x5x9x9")),
        ("sides are 1 to 4096", ("train", "resnet8", "--data", "PHOTOS", "--input", "3x9x5000")),
        ("--fit needs the size", ("train", "resnet8", "--data", "PHOTOS", "--fit", "pad")),
        ("--fit is for images of a folder", ("train", "resnet8", "--data", "digits", "--fit", "pad")),
        ("'zoom' is not one of", ("train", "resnet8", "--data", "PHOTOS@8", "--fit", "zoom")),
        (
            "--fit crop contradicts MODEL, which takes 3x16x16 (pad)",
            ("tune", "MODEL", "--data", "PHOTOS", "--fit", "crop"),
        ),
        ("--input 1x1x16x16 contradicts BUNDLE", ("bench", "BUNDLE", "--data", "PHOTOS", "--input", "1x1x16x16")),
        ("--input 1x3x8x8 contradicts", ("advise", "MODEL", "--data", "PHOTOS", "--input", "3x8x8")),
        ("asks for images of 8x8, and", ("estimate", "BUNDLE", "--device", "rpi4", "--data", "PHOTOS@8")),
        ("--fit is for images of --data", ("estimate", "BUNDLE", "--device", "rpi4", "--fit", "pad")),
        ("--fit needs the size", ("search", "--space", "resnet", "--data", "PHOTOS", "--fit", "pad")),
        ("--fit is for images of a folder", ("advise", "resnet8", "--data", "digits", "--fit", "pad")),
        ("--input contradicts digits", ("search", "--space", "resnet", "--data", "digits", "--input", "3x9x9")),
    ],
)
def test_commands_contradicting_sizes_are_usage_errors(
    refused: Any, work: Path, words: str, arguments: tuple[str, ...]
) -> None:
    places = {"PHOTOS": f"folder:{work / 'photos'}", "MODEL": work / "model.pt", "BUNDLE": work / "model.eebundle"}

    def filled(text: str) -> str:
        for name, place in places.items():
            text = text.replace(name, str(place))
        return text

    refused(2, filled(words), *map(filled, arguments))


def test_run_folder_without_images_says_what_to_give(refused: Any, work: Path, tmp_path: Path) -> None:
    (tmp_path / "test" / "dark").mkdir(parents=True)
    refused(3, "is a folder without models, bundles or images", "run", work / "model.eebundle", tmp_path)


def test_load_checkpoint_unknown_rule_of_resizing_is_refused(work: Path, tmp_path: Path) -> None:
    sound = load_checkpoint(work / "model.pt")
    (spec,) = sound.record.spec.inputs
    assert spec.preprocess is not None
    other = replace(spec, preprocess=replace(spec.preprocess, resize=Resize("zoom")))
    record = replace(sound.record, spec=replace(sound.record.spec, inputs=(other,)))
    save_checkpoint(tmp_path / "model.pt", replace(sound, record=record))
    with pytest.raises(ArtefactError, match="a rule of resizing that this version does not have"):
        load_checkpoint(tmp_path / "model.pt")
