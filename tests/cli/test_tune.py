"""`eetool tune` as a user meets it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.model.checkpoint import load_checkpoint
from eetool.tune import fit_policy
from eetool_runtime import open_bundle

DIGITS = ("--data", "digits")
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained, tmp_path / "model.pt"))


def test_tune_in_place_twice_needs_force(cli: Any, names: Any, refused: Any, model: Path) -> None:
    result = cli("tune", model, *DIGITS)
    assert result.code == 0, result
    policy = load_checkpoint(model).record.policy
    assert policy is not None
    assert (list(policy.operating_points), policy.max_accuracy_drop) == (["full", "balanced", "fast"], 1.0)
    tuned = model.read_bytes()
    refused(2, "was tuned before", "tune", model, *DIGITS)
    assert model.read_bytes() == tuned
    assert cli("tune", model, *DIGITS, "--max-accuracy-drop", 5, "--force").code == 0
    assert model.read_bytes() != tuned
    assert names(model.parent) == ["model.pt"]


def test_tune_document_holds_policy(cli: Any, model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    document = cli("tune", model, *DIGITS, "-o", tmp_path / "tuned.pt", "--json").document
    policy = load_checkpoint(tmp_path / "tuned.pt").record.policy
    assert policy is not None
    assert (document["schema"], document["output"]) == ("tune/1", str(tmp_path / "tuned.pt"))
    assert document["temperatures"] == list(policy.temperatures)
    for name, point in policy.operating_points.items():
        assert document["operating_points"][name]["thresholds"] == list(point.thresholds)
        assert document["operating_points"][name]["expected"]["split"] == "temperature+threshold"
    assert model.read_bytes() == before


def test_tune_changes_no_weight(trained: Path, tuned: Path) -> None:
    before, after = load_checkpoint(trained), load_checkpoint(tuned)
    assert (before.record.spec, before.record.data) == (after.record.spec, after.record.data)
    assert all(before.state[name].equal(after.state[name]) for name in before.state)


def test_tune_too_small_drop_is_explained_with_the_numbers_to_type(cli: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.pt"
    asked = ("tune", model, *DIGITS, "--device", "rpi4", "--drops=0.05,90", "--max-accuracy-drop", 0.1, "-o", out)
    result = cli(*asked)
    document = cli(*asked, "--force", "--json").document
    assert set(document["shortfalls"]) >= {"balanced", "fast"}
    assert document["shortfalls"]["fast"]["examples_needed"] > 378
    number = -(-round(100 * document["smallest_drop"], 6) // 1) / 100
    assert "few examples: 378 of them support a drop of" in result.stdout
    ends = f"-o {out} --force --max-accuracy-drop {2 * number:g} --drops {number:g},90"
    command = f"eetool tune {model} --data digits --device rpi4 {ends}"
    assert command in result.stdout.replace("\n", " ")
    assert not cli(*command.split()[1:], "--json").document["shortfalls"]


def test_tune_default_is_the_cheapest_within_the_drop_or_that_asked_for(
    cli: Any, refused: Any, tuned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.pt"
    options = (*DIGITS, "--max-accuracy-drop", 4, "-o", out, "--json")
    document = cli("tune", tuned, *options).document
    macs = {n: p["expected"]["mean_macs"] for n, p in document["operating_points"].items()}
    kept = [n for n in macs if document["expected_drops"][n]["points"] <= 4]
    assert macs[document["default"]] == min(macs[n] for n in kept)
    assert cli("tune", tuned, *options, "--default", "full", "--force").document["default"] == "full"
    policy = load_checkpoint(out).record.policy
    assert policy is not None
    assert policy.default == "full"
    refused(2, "no operating point 'nope'", "tune", tuned, *DIGITS, "--default", "nope", "-o", tmp_path / "no.pt")


def test_tune_bundle_writes_verified_bundle(cli: Any, names: Any, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.eebundle"
    result = cli("tune", bundle, *DIGITS, "--max-accuracy-drop", 8, "-o", other)
    assert result.code == 0, result
    before, after = open_bundle(bundle).manifest, open_bundle(other).manifest
    assert (after.name, after.max_accuracy_drop) == ("other", 8)
    assert after.components == before.components
    assert after.variants["onnx/fp32"].operating_points != before.variants["onnx/fp32"].operating_points
    assert cli("verify", other).code == 0
    assert names(tmp_path) == ["other.eebundle"]


def test_tune_bundle_in_place_needs_force_and_drops_other_files(cli: Any, refused: Any, bundle_copy: Path) -> None:
    (bundle_copy / ".DS_Store").write_text("dropped here by a file manager")
    refused(2, "was tuned before", "tune", bundle_copy, *DIGITS)
    assert cli("tune", bundle_copy, *DIGITS, "--force").code == 0
    assert cli("verify", bundle_copy).code == 0
    assert not (bundle_copy / ".DS_Store").exists()


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "unknown data source 'mnist'", ["MODEL", "--data", "mnist"]),
        (2, "Missing option '--data'", ["MODEL"]),
        (2, "is not in the range", ["MODEL", *DIGITS, "--max-accuracy-drop", -1]),
        (2, "is not a finite number", ["MODEL", *DIGITS, "--max-accuracy-drop", "nan"]),
        (2, "--variant is for bundles", ["MODEL", *DIGITS, "--variant", "onnx/fp32"]),
        (2, "exists already", ["MODEL", *DIGITS, "-o", "OLD"]),
        (2, "is not a folder", ["MODEL", *DIGITS, "-o", "OLD/model.pt"]),
        (3, "does not exist", ["nowhere.pt", *DIGITS]),
        (3, "not a model.pt, or a damaged one", ["OLD", *DIGITS]),
    ],
)
def test_tune_bad_input_changes_nothing(
    refused: Any, names: Any, model: Path, tmp_path: Path, code: int, words: str, arguments: list[object]
) -> None:
    before = model.read_bytes()
    (tmp_path / "OLD").write_text("just text")
    named = [str(a).replace("MODEL", str(model)).replace("OLD", str(tmp_path / "OLD")) for a in arguments]
    refused(code, words, "tune", *named)
    assert model.read_bytes() == before
    assert names(tmp_path) == ["OLD", "model.pt"]


def test_tune_unknown_variant_is_refused(refused: Any, bundle: Path) -> None:
    refused(2, "has no variant 'onnx/int8'", "tune", bundle, *DIGITS, "--variant", "onnx/int8", "--force")


def test_tune_model_without_data_is_refused(cli: Any, refused: Any, tmp_path: Path) -> None:
    options = ("--epochs", 0, "--input", "1x1x32x32", "--classes", 10)
    assert cli("train", "resnet8", *options, "-o", tmp_path / "m.pt").code == 0
    refused(3, "records no data", "tune", tmp_path / "m.pt", *DIGITS)


def test_tune_certify_without_split_is_refused(refused: Any, trained: Path, tmp_path: Path) -> None:
    arguments = ("tune", trained, "--data", "digits", "--certify", 0.95, "-o", tmp_path / "m.pt")
    refused(3, "records no 'certificate' split", *arguments)
    assert not (tmp_path / "m.pt").exists()


def test_tune_unavailable_score_is_refused(refused: Any, trained: Path, bundle: Path, tmp_path: Path) -> None:
    out = ("--data", "digits", "-o", tmp_path / "out")
    refused(2, "no learned confidence", "tune", trained, *out, "--score", "learned")
    refused(2, "part of a bundle's graphs", "tune", bundle, *out, "--score", "entropy")


def test_tune_score_is_kept_in_bundle(cli: Any, trained: Path, tmp_path: Path) -> None:
    found = {}
    for score in ("max_softmax", "margin"):
        path = tmp_path / score
        options = ("--data", "digits", "--max-accuracy-drop", 4, "--score", score)
        assert cli("tune", trained, *options, "-o", path).code == 0
        policy = load_checkpoint(path).record.policy
        assert policy is not None
        assert policy.score == score
        found[score] = policy.operating_points["fast"].thresholds
    assert found["max_softmax"] != found["margin"]


def test_tune_platt_bundle_is_refitted(cli: Any, refused: Any, trained: Path, bundle: Path, tmp_path: Path) -> None:
    path, made, again = tmp_path / "m.pt", tmp_path / "m.eebundle", tmp_path / "again.eebundle"
    options = (*DIGITS, "--max-accuracy-drop", 4)
    assert cli("tune", trained, *options, "--calibration", "platt", "-o", path).code == 0
    policy = load_checkpoint(path).record.policy
    assert policy is not None
    assert len(policy.slopes) == len(policy.offsets) == 3
    assert cli("export", path, "--no-reference", "-o", made).code == 0
    assert cli("verify", made).code == 0
    result = cli("tune", made, *options, "-o", again, "--json")
    assert result.code == 0, result
    assert cli("verify", again).code == 0
    assert result.document["slopes"] == pytest.approx(policy.slopes, rel=0.02)
    assert result.document["offsets"] == pytest.approx(policy.offsets, abs=0.02)
    fitted = open_bundle(again).manifest.variants["onnx/fp32"]
    assert list(fitted.slopes) == result.document["slopes"]
    for source, method in ((made, "temperature"), (bundle, "platt")):
        refused(2, "part of its graphs", "tune", source, *DIGITS, "--calibration", method, "-o", tmp_path / "no")


def test_tune_budget_adds_operating_point(cli: Any, tuned: Path, tmp_path: Path) -> None:
    options = (*DIGITS, "--max-accuracy-drop", 4, "--device", "rpi4", "--json", "--force")
    free = cli("tune", tuned, *options, "-o", tmp_path / "free.pt").document
    assert (free["cost"]["device"], free["cost"]["unit"]) == ("rpi4", "latency_ms")
    assert free["cost"]["provenance"] == "predicted"
    means = free["cost"]["means"]
    assert means["fast"] <= means["balanced"] < means["full"]
    between = (means["fast"] + means["full"]) / 2
    kept = cli("tune", tuned, *options, "--max-latency-ms", between, "-o", tmp_path / "kept.pt").document
    assert kept["cost"]["means"]["budget"] <= between
    points = kept["operating_points"]
    assert points["fast"]["expected"]["accuracy"] <= points["budget"]["expected"]["accuracy"]


def test_tune_budget_of_macs_needs_no_device(cli: Any, refused: Any, tuned: Path, tmp_path: Path) -> None:
    options = (*DIGITS, "--max-accuracy-drop", 4, "--json", "--force")
    free = cli("tune", tuned, *options, "-o", tmp_path / "free.pt").document["operating_points"]
    macs = {name: point["expected"]["mean_macs"] for name, point in free.items()}
    between = (macs["fast"] + macs["full"]) / 2
    kept = cli("tune", tuned, *options, "--max-macs", between, "-o", tmp_path / "kept.pt").document["operating_points"]
    assert kept["budget"]["expected"]["mean_macs"] <= between
    assert kept["budget"]["expected"]["accuracy"] >= free["fast"]["expected"]["accuracy"]
    refused(6, "bring the mean macs down to 1;", "tune", tuned, *DIGITS, "--max-macs", 1, "-o", tmp_path / "no.pt")


def test_tune_impossible_budget_names_nearest(cli: Any, refused: Any, bundle: Path, tmp_path: Path) -> None:
    options = (*DIGITS, "--device", "rpi4", "-o", tmp_path / "no.eebundle")
    refused(6, "the nearest is", "tune", bundle, *options, "--max-latency-ms", 1e-6)
    strict = ("--max-accuracy-drop", 0.4, "--max-latency-ms", 3)
    refused(6, "the nearest within them is", "tune", bundle, *options, *strict)
    text = cli("tune", bundle, *options, *strict).stderr
    drop = text.partition("--max-accuracy-drop ")[2].partition(",")[0]
    assert cli("tune", bundle, *options, *strict[2:], "--max-accuracy-drop", drop).code == 0, "the hint can be typed"
    shutil.rmtree(tmp_path / "no.eebundle")
    assert not (tmp_path / "no.eebundle").exists()


def test_tune_profile_is_used_and_kept_in_bundle(cli: Any, refused: Any, bundle: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "p.json", tmp_path / "out.eebundle"
    quick = ("--runs", 5, "--min-seconds", 0, "--threads", 1)
    assert cli("profile", bundle, *quick, "-o", path).code == 0
    result = cli("tune", bundle, *DIGITS, "--max-accuracy-drop", 4, "--profile", path, "-o", out, "--json")
    assert result.code == 0, result
    assert result.document["cost"]["provenance"] == "measured"
    (settings,) = open_bundle(out).manifest.devices.values()
    assert settings.variants["onnx/fp32"].threads == 1
    assert cli("verify", out).code == 0
    refused(5, "no energy", "tune", bundle, *DIGITS, "--profile", path, "--max-energy-mj", 1, "-o", tmp_path / "no")


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "a budget of which device", ["--max-latency-ms", 1]),
        (2, "one cost", ["--max-latency-ms", 1, "--max-energy-mj", 1, "--device", "rpi4"]),
        (2, "one cost", ["--max-macs", 1e6, "--device", "rpi4"]),
        (2, "was measured", ["--device", "rpi4", "--profile", "/dev/null"]),
        (5, "toaster", ["--device", "toaster"]),
        (3, "does not exist", ["--profile", "nowhere.json"]),
    ],
)
def test_tune_contradicting_budgets_are_refused(
    refused: Any, tuned: Path, tmp_path: Path, code: int, words: str, arguments: list[object]
) -> None:
    refused(code, words, "tune", tuned, *DIGITS, *arguments, "-o", tmp_path / "no.pt")


def test_tune_in_place_model_replaced_during_the_work_is_kept(
    cli: Any, names: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_policy.fit_policy

    def slowly(*arguments: Any) -> Any:
        model.write_text("theirs")
        return fit(*arguments)

    monkeypatch.setattr(fit_policy, "fit_policy", slowly)
    result = cli("tune", model, *DIGITS)
    assert (result.code, "was changed by another program" in result.stderr) == (2, True), result
    assert model.read_text() == "theirs"
    assert names(model.parent) == ["model.pt"]


def test_tune_data_of_the_same_name_with_other_classes_is_refused(cli: Any, refused: Any, tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "m.pt"
    arrays = {"features": random.normal(size=(200, 4)).astype(np.float32), "labels": np.arange(200) % 2}
    for name, classes in {"first": ["cat", "dog"], "turned": ["dog", "cat"], "other": ["ape", "dog"]}.items():
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "d.npz", classes=classes, **arrays)
    given = ("--data", f"npz:{tmp_path / 'first' / 'd.npz'}")
    assert cli("train", "mlp-4x2", *given, "--exits", 1, "--epochs", 0, "-o", path).code == 0
    for name, words in {"turned": "in another order", "other": "such as 'ape'"}.items():
        refused(3, words, "tune", path, "--data", f"npz:{tmp_path / name / 'd.npz'}")
    assert cli("tune", path, *given).code == 0
