"""Goals of a policy in bundles: every variant has the same operating points, for every kind of goal."""

import importlib.util
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool
from eetool.data.source import Source
from eetool.errors import ArtefactError, MissingError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.bundle_files import GOALS, read_goals, write_goals, write_manifest
from eetool.export.default_point import price_default_point
from eetool.export.expected_drops import read_drops
from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.model.checkpoint import Checkpoint
from eetool.model.goals import ENERGY, HW_PROFILE, LATENCY, MACS, MEASUREMENT, Budget, CostSource, TuningGoals
from eetool.model.spec import Policy, TrainingSettings
from eetool.progress import SILENT, Advance
from eetool.train.exit_answers import NetworkAnswers
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import train_model
from eetool.tune.exit_costs import model_macs
from eetool.tune.fit_policy import fit_policy
from eetool_runtime import Bundle, load, open_bundle

HAS_TFLITE = all(importlib.util.find_spec(name) for name in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"))
needs_tflite = pytest.mark.skipif(not HAS_TFLITE, reason="the extra eetool[tflite] is not installed")
VARIANTS = ("onnx/fp32", "onnx/int8")
DROP = 6.0
pytestmark = pytest.mark.usefixtures("converted_once")  # all policies are of one network


@pytest.fixture(scope="module")
def quadrants() -> Source:
    """Noisy images of one bright quadrant, enough of them for a certificate split."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 10_000)
    images = random.normal(100, 40, (10_000, 1, 8, 8))
    for i, label in enumerate(labels):
        images[i, 0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += random.uniform(0, 60)
    pixels = images.clip(0, 255).astype(np.uint8)
    return Source("quadrants", pixels, labels.astype(np.int64), ("a", "b", "c", "d"), mirror=False)


@pytest.fixture(scope="module")
def quadrant_model(quadrants: Source, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    state = tmp_path_factory.mktemp("goals") / "state"
    return train_model("resnet8", quadrants, ExitPlan(2, "linear"), TrainingSettings("joint", 1, 0, 64, 0.05), state)


class Notes:
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, what: str, total: int) -> AbstractContextManager[Advance]:
        return SILENT(what, total)

    def note(self, line: str) -> None:
        self.lines.append(line)


def tune(checkpoint: Checkpoint, source: Source, goals: TuningGoals) -> Checkpoint:
    """The checkpoint with goals fitted as `eetool tune` does; a device takes a nanosecond for a MAC."""
    macs = model_macs(checkpoint.record.spec)
    trunk, heads = (tuple(1e-6 * value for value in part) for part in (macs.trunk, macs.heads))
    costs = CascadeCosts(trunk, heads)
    answers = NetworkAnswers(checkpoint)
    tuned = fit_policy(source, checkpoint.record.data, answers, costs if goals.costs else macs, macs, goals)
    c = tuned.calibration
    policy = Policy("max_softmax", c.temperatures, tuned.operating_points, DROP, c.slopes, c.offsets, goals)
    return checkpoint.with_policy(policy)


def price(bundle: Path, variant: str, source: CostSource) -> CascadeCosts:
    """Costs on a device where int8 takes half as long as float."""
    manifest, faster = open_bundle(bundle).manifest, 0.5 if variant.endswith("int8") else 1.0
    return layout_of_manifest(manifest).arrange({c.name: 1e-6 * faster * c.macs for c in manifest.components})


def refuse_price(bundle: Path, variant: str, source: CostSource) -> CascadeCosts:
    raise MissingError(f"{variant} was not measured on {source.device}")


def mean_macs(checkpoint: Checkpoint, share: float) -> float:
    """A budget between the mean MACs of `fast` and of full depth."""
    assert checkpoint.record.policy is not None
    points = checkpoint.record.policy.operating_points
    fast, full = (points[name].expected.mean_macs for name in ("fast", "full"))  # type: ignore[union-attr]
    return fast + share * (full - fast)


Export = Callable[..., tuple[Bundle, list[str]]]


@pytest.fixture
def export(quadrants: Source, tmp_path: Path) -> Export:
    def run(checkpoint: Checkpoint, variants: tuple[str, ...] = VARIANTS, **options: Any) -> tuple[Bundle, list[str]]:
        notes = Notes()
        images = quadrants.inputs[:64]
        rule = checkpoint.record.spec.inputs[0].preprocess
        assert rule is not None
        inputs = {"input": ((images / 255 - rule.mean[0]) / rule.std[0]).astype(np.float32)}
        settings = {"references": False, "judge_speed": False, "calibration": inputs, "labelled": quadrants, **options}
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.eebundle"
        export_bundle(checkpoint, path, ExportOptions(variants, **settings), notes)
        warnings = [line for line in notes.lines if line.startswith("warning: ")]
        return open_bundle(path), warnings

    return run


def check_points(bundle: Bundle, checkpoint: Checkpoint) -> None:
    """Every variant has every operating point of the model, and runs at it."""
    assert checkpoint.record.policy is not None
    names = list(checkpoint.record.policy.operating_points)
    x = bundle.arrays(bundle.manifest.samples)["input"][:1]
    for variant, fitted in bundle.manifest.variants.items():
        assert list(fitted.operating_points) == names, variant
        model = load(bundle, variant=variant)
        for name in names:
            model.use(name)
            assert 0 <= model(x).exit <= bundle.manifest.n_early_exits
            assert fitted.operating_points[name].expected is not None
    assert bundle.manifest.default_operating_point == "balanced"


@pytest.fixture(scope="module")
def free(quadrant_model: Checkpoint, quadrants: Source) -> Checkpoint:
    return tune(quadrant_model, quadrants, TuningGoals(DROP))


def all_goals(free: Checkpoint) -> TuningGoals:
    return TuningGoals(DROP, 0.9, (2.0, 5.0), Budget(MACS, mean_macs(free, 0.5)), "platt", 0.5)


def test_export_int8_keeps_drops_budget_certificate_and_platt(
    free: Checkpoint, quadrants: Source, export: Export
) -> None:
    goals = all_goals(free)
    checkpoint = tune(free, quadrants, goals)
    bundle, notes = export(checkpoint)
    check_points(bundle, checkpoint)
    assert read_goals(bundle) == goals
    points = bundle.manifest.variants["onnx/int8"].operating_points
    assert {"drop-2", "drop-5", "budget", "certified"} < set(points)
    assert points["budget"].expected is not None
    assert points["budget"].expected.mean_macs <= goals.budget.most  # type: ignore[union-attr]
    certificate = points["certified"].certificate
    assert certificate is not None
    assert (certificate.confidence, certificate.max_accuracy_drop) == (0.9, DROP)
    assert len(bundle.manifest.variants["onnx/int8"].slopes) == 3
    assert notes == []


@needs_tflite
def test_export_tflite_keeps_every_point(free: Checkpoint, quadrants: Source, export: Export) -> None:
    checkpoint = tune(free, quadrants, replace(all_goals(free), calibration="temperature"))
    bundle, notes = export(checkpoint, ("onnx/fp32", "tflite/fp32", "tflite/int8"))
    check_points(bundle, checkpoint)
    floats = [bundle.manifest.variants[f"{name}/fp32"] for name in ("onnx", "tflite")]
    assert floats[0].operating_points == floats[1].operating_points
    assert bundle.manifest.variants["tflite/int8"].operating_points["certified"].certificate is not None
    assert notes == []


def test_export_standard_errors_of_the_model_hold_for_int8(free: Checkpoint, quadrants: Source, export: Export) -> None:
    points = {}
    for margin in (0.0, 3.0):
        bundle, _ = export(tune(free, quadrants, TuningGoals(DROP, standard_errors=margin)), ("onnx/int8",))
        points[margin] = bundle.manifest.variants["onnx/int8"].operating_points["fast"].expected
    assert points[0.0].mean_macs < points[3.0].mean_macs  # type: ignore[union-attr]


@pytest.mark.parametrize("unit", [LATENCY, ENERGY])
def test_export_int8_with_known_costs_keeps_the_budget(
    free: Checkpoint, quadrants: Source, export: Export, unit: str
) -> None:
    most = 1e-6 * mean_macs(free, 0.2)
    goals = TuningGoals(DROP, budget=Budget(unit, most), costs=CostSource("board", unit, HW_PROFILE, "onnx/fp32"))
    checkpoint = tune(free, quadrants, goals)
    bundle, notes = export(checkpoint, price=price)
    check_points(bundle, checkpoint)
    assert notes == []
    floats, quantised = (bundle.manifest.variants[name].operating_points["budget"].expected for name in VARIANTS)
    assert floats is not None
    assert quantised is not None
    assert 1e-6 * floats.mean_macs <= most
    assert floats.mean_macs < quantised.mean_macs, "twice the MACs fit into the budget"
    assert 0.5e-6 * quantised.mean_macs <= most


@pytest.mark.parametrize("origin", [MEASUREMENT, HW_PROFILE])
def test_export_int8_with_unknown_costs_keeps_the_drop_of_the_budget(
    free: Checkpoint, quadrants: Source, export: Export, origin: str
) -> None:
    budget = Budget(LATENCY, 1e-6 * mean_macs(free, 0.5))
    goals = TuningGoals(DROP, budget=budget, costs=CostSource("no-such-board", LATENCY, origin, "onnx/fp32"))
    checkpoint = tune(free, quadrants, goals)
    bundle, notes = export(checkpoint)
    check_points(bundle, checkpoint)
    points = bundle.manifest.variants["onnx/fp32"].operating_points
    full, kept = points["full"].expected, points["budget"].expected
    limit = 100 * (full.accuracy - kept.accuracy)  # type: ignore[union-attr]
    quantised = read_drops(bundle)["onnx/int8"]["budget"]
    on_the_examples = quantised.points - quantised.optimism  # a fit keeps a drop on its examples
    assert on_the_examples <= max(limit, 0) + 1e-9
    reason = "was not measured" if origin == MEASUREMENT else "unknown device"
    assert any(line.startswith("warning: onnx/int8: `budget` is not kept: ") and reason in line for line in notes)
    assert any("`budget` has the accuracy drop of the earlier fit" in line for line in notes)


def test_export_int8_budget_out_of_reach_is_a_warning(free: Checkpoint, quadrants: Source, export: Export) -> None:
    goals = TuningGoals(DROP, budget=Budget(MACS, mean_macs(free, 0.5)))
    checkpoint = tune(free, quadrants, goals)
    assert checkpoint.record.policy is not None
    impossible = replace(goals, budget=Budget(MACS, 1.0))
    bundle, notes = export(checkpoint.with_policy(replace(checkpoint.record.policy, goals=impossible)))
    check_points(bundle, checkpoint)
    assert any("`budget` is not kept: no thresholds bring the mean macs down to 1" in line for line in notes)


def test_export_int8_without_proof_certifies_full_depth_only(
    free: Checkpoint, quadrants: Source, export: Export
) -> None:
    checkpoint = tune(free, quadrants, TuningGoals(DROP, certify=0.9))
    assert checkpoint.record.policy is not None
    strict = TuningGoals(0.05, certify=0.9)
    bundle, notes = export(checkpoint.with_policy(replace(checkpoint.record.policy, goals=strict)), ("onnx/int8",))
    point = bundle.manifest.variants["onnx/int8"].operating_points["certified"]
    assert (point.thresholds, point.certificate) == ((None, None), None)
    assert "warning: onnx/int8: `certified` is full depth, without a certificate" in notes


def test_export_int8_without_data_keeps_names_and_no_certificate(
    free: Checkpoint, quadrants: Source, export: Export
) -> None:
    checkpoint = tune(free, quadrants, TuningGoals(DROP, certify=0.9, drops=(2.0,)))
    assert checkpoint.record.policy is not None
    bundle, notes = export(checkpoint, ("onnx/int8",), labelled=None)
    points, floats = bundle.manifest.variants["onnx/int8"].operating_points, checkpoint.record.policy.operating_points
    assert list(points) == list(floats)
    assert points["drop-2"].thresholds == floats["drop-2"].thresholds
    assert (points["certified"].thresholds, points["certified"].certificate) == ((None, None), None)
    assert notes == ["warning: onnx/int8: `certified` is full depth, without a certificate"]


def test_export_policy_without_goals_keeps_the_names_of_its_points(
    free: Checkpoint, quadrants: Source, export: Export
) -> None:
    checkpoint = tune(free, quadrants, TuningGoals(DROP, drops=(2.0,), budget=Budget(MACS, mean_macs(free, 0.5))))
    assert checkpoint.record.policy is not None
    old = checkpoint.with_policy(replace(checkpoint.record.policy, goals=None))
    bundle, notes = export(old)
    check_points(bundle, old)
    assert GOALS not in bundle.manifest.files
    assert read_goals(bundle) is None
    assert len(notes) == 2


@pytest.mark.parametrize("priced", [True, False])
def test_export_merged_exits_keeps_every_point(
    free: Checkpoint, quadrants: Source, export: Export, priced: bool
) -> None:
    costs = CostSource("board", LATENCY, HW_PROFILE, "onnx/fp32")
    goals = TuningGoals(DROP, drops=(2.0,), budget=Budget(LATENCY, 1e-6 * mean_macs(free, 0.6)), costs=costs)
    checkpoint = tune(free, quadrants, goals)
    bundle, notes = export(checkpoint, merge="all", price=price if priced else refuse_price)
    check_points(bundle, checkpoint)
    if priced:
        expected = bundle.manifest.variants["onnx/fp32"].operating_points["budget"].expected
        assert expected is not None
        assert 1e-6 * expected.mean_macs <= goals.budget.most  # type: ignore[union-attr]
    else:
        assert "warning: onnx/fp32 keeps the thresholds of the model: onnx/fp32 was not measured on board" in notes


def test_read_goals_damaged_file_raises_artefact_error(free: Checkpoint, export: Export) -> None:
    bundle, _ = export(free, ("onnx/fp32",))
    for goals, words in (
        (TuningGoals(-1), r"does not lie in \[0, 100\]"),
        (TuningGoals(1, certify=2.0), "does not lie in"),
        (TuningGoals(1, drops=(1.0,) * 10_000), "too large"),
        (TuningGoals(1, budget=Budget("watts", 1)), "its budget is not"),
    ):
        write_goals(bundle.path, goals)
        write_manifest(bundle.path, bundle.manifest)
        with pytest.raises(ArtefactError, match=words):
            read_goals(open_bundle(bundle.path))


def test_read_goals_golden_file_is_read_and_written_byte_by_byte(bundle_copy: Path) -> None:
    golden = (Path(__file__).parents[1] / "golden/goals-1.json").read_bytes()
    manifest = open_bundle(bundle_copy).manifest
    (bundle_copy / GOALS).write_bytes(golden)
    write_manifest(bundle_copy, manifest)
    goals = read_goals(open_bundle(bundle_copy))
    assert goals is not None
    assert goals.budget == Budget(LATENCY, 4.5)
    write_goals(bundle_copy, goals)
    assert (bundle_copy / GOALS).read_bytes() == golden


def test_schema_and_records_of_goals_have_the_same_fields() -> None:
    schema = json.loads((Path(eetool.__file__).parent / "schemas/goals-1.schema.json").read_text(encoding="utf-8"))
    parts = {TuningGoals: schema, Budget: schema["$defs"]["Budget"], CostSource: schema["$defs"]["CostSource"]}
    for record, part in parts.items():
        assert [name for name in part["properties"] if name != "schema"] == [f.name for f in fields(record)]


def test_price_default_point_device_without_int8_figures_prices_fp32_only(bundle_copy: Path) -> None:
    manifest = open_bundle(bundle_copy).manifest
    write_goals(bundle_copy, TuningGoals(DROP, costs=CostSource("rpi4", LATENCY, HW_PROFILE, "onnx/fp32")))
    variants = dict.fromkeys(VARIANTS, manifest.variants["onnx/fp32"])
    # `full` runs every exit, so it never pays
    write_manifest(bundle_copy, replace(manifest, variants=variants, default_operating_point="full"))
    assert "'full' does not pay on rpi4" in str(price_default_point(bundle_copy, "onnx/fp32"))
    assert price_default_point(bundle_copy, "onnx/int8") is None
