"""Goals in `eetool tune` and `eetool export`: another variant has the operating points of the first."""

from pathlib import Path
from typing import Any

import pytest

from eetool.export.bundle_files import read_goals
from eetool.model.checkpoint import load_checkpoint
from eetool_runtime import load, open_bundle

DIGITS = ("--data", "digits")
pytestmark = pytest.mark.usefixtures("converted_once")


def test_tune_goals_reach_every_variant_and_the_next_fit(cli: Any, trained: Path, tmp_path: Path) -> None:
    model, made, again = tmp_path / "m.pt", tmp_path / "m.eebundle", tmp_path / "again.eebundle"
    limits = ("--max-accuracy-drop", 4, "--drops", "5", "--device", "rpi5", "--max-latency-ms", 1000)
    assert cli("tune", trained, *DIGITS, *limits, "-o", model).code == 0
    policy = load_checkpoint(model).record.policy
    assert policy is not None
    assert policy.goals is not None
    assert policy.goals.costs is not None
    assert (policy.goals.costs.device, policy.goals.costs.origin, policy.goals.drops) == ("rpi5", "hw_profile", (5.0,))
    options = ("--precision", "fp32", "--precision", "int8", "--no-judge-speed", "--no-reference")
    assert cli("export", model, *options, "-o", made).code == 0
    for variant in ("onnx/fp32", "onnx/int8"):
        for name in ("drop-5", "budget"):
            load(made, variant=variant).use(name)
    answered = cli("tune", made, *DIGITS, "--variant", "onnx/int8", "--drops", "2", "-o", again)
    assert answered.code == 0, answered
    assert "onnx/fp32 has no operating point drop-2: tune it with --variant onnx/fp32" in answered.stdout
    bundle = open_bundle(again)
    assert list(bundle.variant("onnx/int8").operating_points) == [
        *("full", "balanced", "fast", "drop-5", "drop-2", "budget")
    ]
    goals = read_goals(bundle)
    assert goals is not None
    assert (goals.max_accuracy_drop, goals.drops, goals.budget) == (4.0, (5.0, 2.0), policy.goals.budget)
    assert bundle.manifest.max_accuracy_drop == 4.0
    assert cli("verify", again).code == 0


def test_tune_default_of_the_user_stays_the_default_of_the_next_fit(cli: Any, tuned: Path, tmp_path: Path) -> None:
    made, again, other = (tmp_path / f"{name}.eebundle" for name in ("made", "again", "other"))
    assert cli("export", tuned, "--default", "full", "--no-reference", "-o", made).code == 0
    answered = cli("tune", made, *DIGITS, "--max-accuracy-drop", 5, "-o", again)
    assert "default point: full, kept from an earlier --default" in answered.stdout
    assert open_bundle(again).manifest.default_operating_point == "full"
    assert cli("tune", again, *DIGITS, "--default", "fast", "-o", other).code == 0
    goals = read_goals(open_bundle(other))
    assert goals is not None
    assert (goals.default, open_bundle(other).manifest.default_operating_point) == ("fast", "fast")
