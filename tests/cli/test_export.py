"""`eetool export` as a user meets it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool_runtime import open_bundle

WITHOUT_DATA = ("--epochs", 0, "--input", "1x1x8x8", "--classes", 3, "--branch", "linear")
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture
def model(cli: Any, tmp_path: Path) -> Path:
    """Without exits: one graph."""
    path = tmp_path / "model.pt"
    assert cli("train", "resnet8", *WITHOUT_DATA, "--exits", 0, "-o", path).code == 0
    return path


def test_export_default_output_is_beside_model(cli: Any, refused: Any, model: Path) -> None:
    exported = cli("export", model, "--no-reference", "--json")
    assert exported.code == 0, exported
    path = model.with_suffix(".eebundle")
    m = open_bundle(path).manifest
    assert "warning" not in exported.stderr, "there is nothing to tune without early exits"
    assert (exported.document["schema"], exported.document["output"]) == ("export/1", str(path))
    (component,) = exported.document["variants"]["onnx/fp32"]
    assert component["size_bytes"] == m.files["components/exit0/onnx-fp32/model.onnx"].size_bytes
    assert component["max_abs_error"] <= component["tolerance"]

    refused(2, "exists already", "export", model)
    assert cli("export", model, "--no-reference", "--no-simplify", "--force").code == 0
    assert cli("verify", path).code == 0


def test_export_untuned_model_warns(cli: Any, tmp_path: Path) -> None:
    assert cli("train", "resnet8", *WITHOUT_DATA, "--exits", 1, "-o", tmp_path / "model.pt").code == 0
    exported = cli("export", tmp_path / "model.pt", "--no-reference")
    assert exported.code == 0, exported
    assert exported.stderr.startswith("warning: the model was never tuned")
    m = open_bundle(tmp_path / "model.eebundle").manifest
    assert (list(m.variants["onnx/fp32"].operating_points), m.default_operating_point) == (["full"], "full")


def test_export_model_of_nan_writes_nothing(cli: Any, names: Any, model: Path) -> None:
    checkpoint = load_checkpoint(model)
    broken = {**checkpoint.state, "backbone.linear.bias": torch.full((3,), torch.nan)}
    save_checkpoint(model, replace(checkpoint, state=broken), force=True)
    result = cli("export", model, "--json")
    assert (result.code, result.document["ok"], result.document["error"]["code"]) == (3, False, 3)
    assert "backbone.linear.bias" in result.document["error"]["message"]
    assert names(model.parent) == ["model.pt"]


def test_export_bad_input_is_refused(refused: Any, model: Path) -> None:
    text = model.with_name("text.pt")
    text.write_text("just text")
    refused(3, "not a model.pt, or a damaged one", "export", text)
    refused(3, "nowhere.pt: does not exist", "export", model.with_name("nowhere.pt"))
    refused(3, "is a folder with a model.pt inside it", "export", model.parent)
    refused(2, "is not a folder", "export", model, "-o", model / "b.eebundle")
    refused(2, "'fp8' is not one of", "export", model, "--precision", "fp8")


def test_export_force_replaces_bundles_only(refused: Any, names: Any, model: Path) -> None:
    photos = model.parent / "photos"
    photos.mkdir()
    (photos / "wedding.jpg").touch()
    refused(2, "not a bundle, so it is not replaced", "export", model, "--force", "-o", photos)
    assert names(photos) == ["wedding.jpg"]


def test_export_default_point_is_set_and_one_that_does_not_pay_is_warned_of(
    cli: Any, refused: Any, tuned: Path, tmp_path: Path
) -> None:
    refused(2, "no operating point 'nope'", "export", tuned, "--default", "nope", "-o", tmp_path / "no.eebundle")
    path = tmp_path / "full.eebundle"
    result = cli("export", tuned, "--default", "full", "--no-reference", "--no-simplify", "-o", path)
    assert result.code == 0, result
    assert open_bundle(path).manifest.default_operating_point == "full"
    assert "warning: onnx/fp32: full: the default operating point 'full' does not pay" in result.stderr
    assert result.stderr.count("does not pay") == 1
