"""`eetool cascade`: from trained networks to a bundle that both runtimes run, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import eetool
import eetool_runtime as ee
from eetool.data.source import Source
from eetool.data.splits import TEST, split_source
from eetool.model.checkpoint import load_checkpoint
from eetool.train.exit_answers import every_exit_logits
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/cascade-1.schema.json").read_text(encoding="utf-8"))
Refused = Callable[..., None]
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture(scope="module")
def quick(once: Callable[..., Path], cli: Callable[..., Any]) -> Path:
    """A smaller network than `trained` that sees other pixels."""
    options = ("--data", "digits", "--exits", 0, "--epochs", 3, "--batch-size", 64, "--normalize", "half", "-o")
    return once("quick", lambda folder: cli("train", "resnet-8x0-16x1", *options, folder / "quick.pt")) / "quick.pt"


@pytest.fixture(scope="module")
def joined(once: Callable[..., Path], cli: Callable[..., Any], quick: Path, trained: Path) -> Path:
    """A folder with the tuned cascade of both, whose logits are added up, and its bundle."""

    def make(folder: Path) -> None:
        model = folder / "m.pt"
        assert cli("cascade", quick, trained, "--together", "--data", "digits", "-o", model).code == 0
        assert cli("tune", model, "--data", "digits", "--max-accuracy-drop", 4).code == 0
        assert cli("export", model, "-o", folder / "m.eebundle").code == 0

    return once("joined", make)


def test_cascade_document_keeps_its_schema(cli: Callable[..., Any], quick: Path, trained: Path, tmp_path: Path) -> None:
    plain = cli("cascade", quick, trained, "-o", tmp_path / "plain.pt", "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(plain)
    assert [network["exits"] for network in plain["networks"]] == [1, 3]
    assert plain["fit"] is None
    options = ("--together", "--fit-order", "--data", "digits", "--device", "rpi4")
    fitted = cli("cascade", trained, quick, *options, "-o", tmp_path / "fitted.pt", "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(fitted)
    fit = fitted["fit"]
    assert (fit["unit"], fit["device"], fit["tried"]) == ("latency_ms", "rpi4", 4)
    assert fit["chosen"]["full_accuracy"] >= fit["reference_accuracy"] - 0.01
    assert fit["chosen"]["mean_cost"] > 0
    assert fit["chosen"]["files"] == [network["file"] for network in fitted["networks"]]
    assert set(fitted["left_out"]) == {str(quick), str(trained)} - set(fit["chosen"]["files"])


def test_cascade_says_which_learned_confidence_is_left_out(
    cli: Callable[..., Any], quick: Path, tmp_path: Path
) -> None:
    options = ("--recipe", "confidence", "--weights", quick, "--epochs", 1, "--data", "digits", "--exits", 1)
    assert cli("train", "resnet-8x0-16x1", *options, "-o", tmp_path / "learned.pt").code == 0
    said = cli("cascade", quick, tmp_path / "learned.pt", "-o", tmp_path / "m.pt").stdout
    assert "learned.pt is left out: all exits of a cascade use the softmax" in " ".join(said.split())
    assert "quick.pt is left out" not in said


def test_cascade_of_every_command(
    cli: Callable[..., Any], joined: Path, digits: Source, tmp_path: Path, native_or_none: Library | None
) -> None:
    """The bundle gives the logits of torch at every exit, in both runtimes, with later networks loaded late."""
    model, bundle = joined / "m.pt", joined / "m.eebundle"
    assert "resnet-8x0-16x1 → resnet8" in cli("inspect", model).stdout
    assert cli("inspect", model, "--json").document["record"]["spec"]["members"][1]["spec"]["backbone"] == "resnet8"
    assert cli("verify", bundle).code == 0
    assert cli("estimate", bundle, "--device", "rpi4").code == 0
    images = digits.inputs[split_source(digits)[TEST][:20]]
    expected = every_exit_logits(load_checkpoint(model), images)
    runtime = ee.load(bundle, preload=False)
    inputs = np.concatenate([runtime.preprocess(np.moveaxis(image, 0, 2)) for image in images])
    for (logits, _), reference in zip(runtime.every_exit(inputs), expected, strict=True):
        assert np.allclose(logits, reference.numpy(), atol=1e-3)
    if native_or_none is not None:
        other = native_or_none.load(bundle, engine=onnxruntime_library())
        for x in inputs:
            ours, theirs = runtime(x[None]), other(x[None])
            assert (ours.exit, ours.label) == (theirs.exit, theirs.label)


def test_cascade_later_network_is_loaded_when_it_is_reached(joined: Path) -> None:
    runtime = ee.load(joined / "m.eebundle", preload=False)
    first = runtime.memory()["loaded"]
    zero = np.zeros((1, *runtime.bundle.manifest.inputs[0].shape[1:]), np.float32)
    runtime.use(threshold=0.0)
    assert runtime(zero).exit == 0
    assert runtime.memory()["loaded"] == first == ["exit0"]
    runtime.use("full")
    assert runtime(zero).exit == 3
    assert "exit3" in runtime.memory()["loaded"]


def test_cascade_without_sums_full_depth_runs_the_last_network_alone(
    cli: Callable[..., Any], quick: Path, trained: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m.pt"
    assert cli("cascade", quick, trained, "-o", model).code == 0
    assert cli("tune", model, "--data", "digits").code == 0
    assert cli("tune", trained, "--data", "digits", "-o", tmp_path / "alone.pt").code == 0
    cascade, alone = (load_checkpoint(path).record.policy for path in (model, tmp_path / "alone.pt"))
    assert cascade is not None
    assert alone is not None
    ours, theirs = (policy.operating_points["full"].expected for policy in (cascade, alone))
    assert ours is not None
    assert theirs is not None
    assert (ours.accuracy, ours.mean_macs) == (theirs.accuracy, theirs.mean_macs)


@pytest.mark.parametrize(
    "options",
    [("--layout", "single"), ("--merge", "all", "--no-reference"), ("--precision", "int8", "--no-reference")],
    ids=lambda options: " ".join(options),
)
def test_cascade_other_exports_succeed(
    cli: Callable[..., Any], joined: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    calibration = ("--calibration-data", "digits") if "int8" in options else ()
    output = tmp_path / ("m.onnx" if "single" in options else "m.eebundle")
    result = cli("export", joined / "m.pt", *options, *calibration, "-o", output)
    assert result.code == 0, result


def test_cascade_one_network_that_is_enough_is_the_output(
    cli: Callable[..., Any], trained: Path, quick: Path, tmp_path: Path
) -> None:
    options = ("--fit-order", "--data", "digits", "--max-accuracy-drop", 100)
    result = cli("cascade", trained, quick, *options, "-o", tmp_path / "m.pt")
    assert "one network alone is cheapest" in result.stdout, result
    assert f"left out: {trained}" in result.stdout
    assert load_checkpoint(tmp_path / "m.pt").record.spec.members == ()


def test_cascade_network_never_reached_is_said(
    cli: Callable[..., Any], trained: Path, quick: Path, tmp_path: Path
) -> None:
    """The second network is less accurate than the first, so that full depth needs no other."""
    model = tmp_path / "m.pt"
    result = cli("cascade", trained, quick, "--data", "digits", "-o", model)
    assert f"warning: no input leaves at {trained}" in result.stdout, result
    tuned = cli("tune", model, "--data", "digits", "-o", tmp_path / "t.pt")
    assert "no input leaves at network 0 of the cascade" in tuned.stdout, tuned


def test_cascade_of_the_api_is_that_of_the_command(joined: Path, quick: Path, trained: Path) -> None:
    made = eetool.cascade([quick, eetool.load_checkpoint(trained)], together=True, data="digits")
    stored = load_checkpoint(joined / "m.pt")
    assert made.checkpoint.record.spec == stored.record.spec
    assert made.checkpoint.state.keys() == stored.state.keys()
    for name, tensor in made.checkpoint.state.items():
        assert np.allclose(tensor, stored.state[name], atol=1e-4), name


def test_cascade_refused(
    refused: Refused, cli: Callable[..., Any], joined: Path, trained: Path, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "x.pt")
    refused(2, "--together is fitted on held-out examples", "cascade", trained, joined / "m.pt", "--together", *output)
    refused(2, "is a cascade of", "cascade", trained, joined / "m.pt", *output)
    refused(2, "a cascade has 2 to 8 networks", "cascade", trained, *output)
    refused(2, "is given twice", "cascade", trained, trained, *output)
    refused(3, "does not exist", "cascade", trained, tmp_path / "absent.pt", *output)
    refused(3, "is a bundle", "cascade", trained, joined / "m.eebundle", *output)
    assert cli("train", "resnet8", "--input", "1x1x32x32", "--epochs", 0, "-o", tmp_path / "noise.pt").code == 0
    refused(2, "make their inputs by other rules", "cascade", trained, tmp_path / "noise.pt", *output)
    assert not (tmp_path / "x.pt").exists()


@pytest.mark.parametrize("verb", ["train", "advise"])
def test_cascade_where_one_network_is_needed_is_refused(
    refused: Refused, joined: Path, tmp_path: Path, verb: str
) -> None:
    model = joined / "m.pt"
    options = {
        "train": ("resnet8", "--weights", model, "--epochs", 1, "-o", tmp_path / "x.pt"),
        "advise": (model, "--device", "rpi4"),
    }
    refused(2, "is a cascade of networks", verb, *options[verb], "--data", "digits")


def test_cascade_as_a_teacher_is_one_network(cli: Callable[..., Any], joined: Path, tmp_path: Path) -> None:
    options = ("--data", "digits", "--exits", 1, "--recipe", "distill", "--epochs", 1)
    result = cli("train", "resnet-8x0-16x1", *options, "--teacher", joined / "m.pt", "-o", tmp_path / "x.pt")
    assert result.code == 0, result
