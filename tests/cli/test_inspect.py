"""`eetool inspect`: bundles, models, and where exits could go."""

from pathlib import Path
from typing import Any

import pytest

from eetool.export.expected_drops import read_drops
from eetool.model.checkpoint import load_checkpoint
from eetool_runtime import open_bundle
from tests.helpers.tiny_bundle import with_stream, write_tiny_bundle


def test_inspect_backbone_lists_size_and_taps(cli: Any) -> None:
    document = cli("inspect", "resnet20", "--json").document
    assert (document["schema"], document["kind"], document["macs"]) == ("inspect/1", "backbone", 40_551_040)
    taps = document["taps"]
    assert [tap["name"] for tap in taps] == [f"layer{i}.{j}" for i in (1, 2, 3) for j in range(3)]
    assert [tap["macs"] for tap in taps] == sorted(tap["macs"] for tap in taps)
    result = cli("inspect", "resnet20").stdout
    assert result.startswith(
        "resnet20: 40.55 M MACs, 269,722 parameters, 10 classes\ninput input: float32 batchx3x32x32\n"
    )
    assert "1x32x16x16" in result


def test_inspect_model_lists_its_exits(cli: Any, tuned: Path) -> None:
    document = cli("inspect", tuned, "--json").document
    assert document["kind"] == "model"
    assert document["record"]["spec"]["taps"] == ["layer1.0", "layer2.0"]
    result = cli("inspect", tuned).stdout
    assert "tuned: full, balanced, fast" in result
    for i, tap in enumerate(("layer1.0", "layer2.0")):
        (line,) = [line for line in result.splitlines() if line.strip().startswith(tap)]
        assert line.rstrip().endswith(f"exit {i}")


def test_inspect_shows_the_drops_that_tune_expected(cli: Any, tuned: Path, bundle: Path, tmp_path: Path) -> None:
    policy = load_checkpoint(tuned).record.policy
    assert policy is not None
    drop = policy.expected_drops["fast"]
    low, high = drop.ci95
    for model in (tuned, bundle):
        shown = cli("inspect", model).stdout
        assert "drop (95 %)" in shown
        assert f"{drop.points:.2f} ({low:.1f} … {high:.1f})" in shown
    assert read_drops(open_bundle(bundle)) == {"onnx/fp32": policy.expected_drops}
    again = tmp_path / "again.eebundle"
    fitted = cli("tune", bundle, "--data", "digits", "--max-accuracy-drop", 6, "-o", again, "--json").document
    stored = read_drops(open_bundle(again))["onnx/fp32"]
    assert {name: x.points for name, x in stored.items()} == {
        name: x["points"] for name, x in fitted["expected_drops"].items()
    }
    shown = cli("inspect", again, "--json").document["expected_drops"]["onnx/fp32"]
    assert shown["fast"]["points"] == stored["fast"].points


def test_inspect_bundle_lists_components_and_operating_points(cli: Any, bundle: Path) -> None:
    document = cli("inspect", bundle, "--json").document
    assert document["kind"] == "bundle"
    assert document["manifest"]["schema_version"] == "1.0"
    result = cli("inspect", bundle).stdout
    for words in ("2 early exits", "seg0", "exit0_temperature", "seg0_out", "(default)", "data: digits"):
        assert words in result


def test_inspect_bundle_shows_policies_for_streams(cli: Any, tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path, edit=with_stream)
    document = cli("inspect", path, "--json").document
    assert document["manifest"]["stream"]["operating_points"]["onnx/fp32"]["stream-careful"]["policy"]["epsilon"] == 0.2
    shown = cli("inspect", path).stdout
    for words in ("stream-balanced (default)", "90.00 %", "0.5 s (1.5 s)", "full depth every 4 frames", "every 0.5 s"):
        assert words in shown, shown


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "unknown model 'alexnet'", ["alexnet"]),
        (2, "takes images", ["resnet8", "--input", "1x3"]),
        (2, "is not a shape", ["resnet8", "--input", "big"]),
        (3, "does not exist", ["nowhere.pt"]),
        (3, "does not exist", ["nowhere.eebundle"]),
        (3, "is a Python file; inspect takes a bundle or a model.pt", [__file__]),
        (3, "is a folder without models, bundles or images", [Path(__file__).parent]),
    ],
)
def test_inspect_bad_input_is_refused(refused: Any, code: int, words: str, arguments: list[object]) -> None:
    refused(code, words, "inspect", *arguments)
