"""Goals of a bundle's next fit, costs of another variant, and the names that a fit keeps."""

from dataclasses import replace
from pathlib import Path

import pytest

from eetool.data.source import Source
from eetool.errors import BudgetError, MissingError
from eetool.model.goals import (
    HW_PROFILE,
    HW_PROFILE_FILE,
    LATENCY,
    MACS,
    MEASUREMENT,
    Budget,
    CostSource,
    TuningGoals,
    invalid_goal,
)
from eetool.tune.calibration import Calibration
from eetool.tune.operating_points import TuningResult
from eetool.tune.refit import earlier_points, find_costs, fit_bundle, keep_default, merge_goals, price_by_table
from eetool_runtime import open_bundle
from tests.helpers.tiny_bundle import write_tiny_bundle

RPI4 = CostSource("rpi4", LATENCY, HW_PROFILE, "onnx/fp32")
RECORDED = TuningGoals(4.0, 0.9, (2.0, 5.0), Budget(LATENCY, 7.0), "platt", 0.5, RPI4)
DEFAULTS = TuningGoals(1.0)


def test_merge_goals_without_options_keeps_the_recorded_goals() -> None:
    assert merge_goals(RECORDED, DEFAULTS, ()) == RECORDED
    assert merge_goals(None, DEFAULTS, ()) == DEFAULTS


def test_merge_goals_options_replace_and_drops_are_added() -> None:
    given = TuningGoals(3.0, drops=(1.0, 5.0), standard_errors=2.0)
    merged = merge_goals(RECORDED, given, ("max_accuracy_drop",))
    assert merged == replace(RECORDED, max_accuracy_drop=3.0, drops=(2.0, 5.0, 1.0))


def test_merge_goals_default_stays_until_another_is_given() -> None:
    chosen = replace(RECORDED, default="fast")
    assert merge_goals(chosen, DEFAULTS, ()) == chosen
    assert merge_goals(chosen, replace(DEFAULTS, default="full"), ()) == replace(chosen, default="full")


def test_keep_default_of_a_point_that_is_gone_says_so(tmp_path: Path) -> None:
    manifest = open_bundle(write_tiny_bundle(tmp_path)).manifest
    result = TuningResult(Calibration(()), {}, {}, default="balanced")
    kept, tuned, name = keep_default(manifest, result, "fast")
    assert (kept.default_operating_point, tuned.default, tuned.keeps_default, name) == ("fast", "fast", True, "fast")
    same, tuned, name = keep_default(manifest, result, "drop-9")
    assert (same, tuned.default, tuned.keeps_default, name) == (manifest, "balanced", False, None)
    assert "the earlier --default drop-9 is not kept" in tuned.warnings[0]


def test_merge_goals_budget_goes_with_its_costs() -> None:
    macs = merge_goals(RECORDED, replace(DEFAULTS, budget=Budget(MACS, 1e6)), ())
    assert (macs.budget, macs.costs) == (Budget(MACS, 1e6), None)
    other = replace(RPI4, device="rpi5")
    assert merge_goals(RECORDED, replace(DEFAULTS, costs=other), ()) == replace(RECORDED, budget=None, costs=other)
    again = replace(RPI4, variant="onnx/int8")
    assert merge_goals(RECORDED, replace(DEFAULTS, costs=again), ()) == replace(RECORDED, costs=again)


@pytest.mark.parametrize(
    "source",
    [
        replace(RPI4, origin=MEASUREMENT),
        replace(RPI4, origin=HW_PROFILE_FILE),
        replace(RPI4, device="toaster"),
        replace(RPI4, device="/etc/board.json"),
    ],
    ids=lambda source: f"{source.device} {source.origin}",
)
def test_price_by_table_without_a_table_of_eetool_raises_missing_error(bundle: Path, source: CostSource) -> None:
    with pytest.raises(MissingError):
        price_by_table(bundle, "onnx/fp32", source)
    costs, reason = find_costs(bundle, "onnx/fp32", replace(RECORDED, costs=source))
    assert costs is None
    assert reason


def test_price_by_table_known_device_returns_costs_of_the_variant(bundle: Path) -> None:
    costs, reason = find_costs(bundle, "onnx/fp32", RECORDED)
    assert reason is None
    assert costs


def test_fit_bundle_keeps_names_and_refuses_a_budget_that_the_user_gave(bundle: Path, digits: Source) -> None:
    opened = open_bundle(bundle)
    points = opened.manifest.variants["onnx/fp32"].operating_points
    more = {**points, "drop-2": points["balanced"], "old": points["fast"]}
    variants = {"onnx/fp32": replace(opened.manifest.variants["onnx/fp32"], operating_points=more)}
    opened = replace(opened, manifest=replace(opened.manifest, variants=variants))
    assert list(earlier_points(opened.manifest, "onnx/fp32")) == list(more)
    impossible = TuningGoals(4.0, budget=Budget(MACS, 1.0))
    _, tuned = fit_bundle(opened, "onnx/fp32", digits, impossible, DEFAULTS)
    assert set(tuned.operating_points) == {*more, "budget"}
    assert len(tuned.warnings) == 4
    with pytest.raises(BudgetError, match="the nearest is"):
        fit_bundle(opened, "onnx/fp32", digits, impossible, impossible)


def test_invalid_goal_sound_goals_return_none() -> None:
    assert invalid_goal(RECORDED) is None
    assert invalid_goal(DEFAULTS) is None


@pytest.mark.parametrize(
    "goals",
    [
        TuningGoals(101.0),
        TuningGoals(1.0, certify=1.0),
        TuningGoals(1.0, drops=(-1.0,)),
        TuningGoals(1.0, calibration="magic"),
        TuningGoals(1.0, standard_errors=11.0),
        TuningGoals(1.0, budget=Budget(LATENCY, 1.0)),
        TuningGoals(1.0, budget=Budget(MACS, 0.0)),
        TuningGoals(1.0, costs=replace(RPI4, unit=MACS)),
        TuningGoals(1.0, costs=replace(RPI4, origin="rumour")),
        TuningGoals(1.0, costs=replace(RPI4, device="\x1b[2J")),
    ],
    ids=str,
)
def test_invalid_goal_number_or_name_out_of_range_returns_a_reason(goals: TuningGoals) -> None:
    assert invalid_goal(goals)
