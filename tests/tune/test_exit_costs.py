"""Costs: an input pays for everything that ran before it left."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tiny import write_tiny_bundle

from eetool.model.checkpoint import load_checkpoint
from eetool.tune.exit_costs import CascadeCosts, component_costs, model_macs
from eetool_runtime import open_bundle
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import Manifest


@pytest.mark.parametrize(
    ("thresholds", "leaving"),
    [
        ((0.5, 0.5), [100 + 1, 100 + 1 + 20 + 2, 100 + 1 + 20 + 2 + 7]),
        ((None, 0.5), [100, 100 + 20 + 2, 100 + 20 + 2 + 7]),
        ((0.5, None), [100 + 1, 100 + 1 + 20, 100 + 1 + 20 + 7]),
        ((None, None), [100, 100 + 20, 100 + 20 + 7]),
    ],
)
def test_rejected_heads_are_paid_and_skipped_ones_are_not(
    thresholds: tuple[float | None, ...], leaving: list[float]
) -> None:
    assert CascadeCosts((100, 20, 7), (1, 2)).leaving(thresholds).tolist() == leaving


def test_without_early_exits_there_is_one_cost() -> None:
    assert CascadeCosts((100,), ()).leaving(()).tolist() == [100]


def macs(manifest: Manifest) -> CascadeCosts:
    return component_costs(manifest, {c.name: float(c.macs) for c in manifest.components})


def test_a_bundle_costs_what_its_model_costs(bundle: Path, tuned: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert macs(manifest) == model_macs(load_checkpoint(tuned).record.spec)


def test_latencies_are_arranged_as_macs_are(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    latency_ms = {"seg0": 8.0, "exit0": 1.0, "seg1": 4.0, "exit1": 2.0, "exit2": 16.0}
    assert component_costs(manifest, latency_ms) == CascadeCosts((8.0, 4.0, 16.0), (1.0, 2.0))


@pytest.mark.parametrize("joined", [False, True])
def test_the_runtime_runs_what_is_charged(bundle: Path, tmp_path: Path, joined: bool) -> None:
    for path in (bundle, write_tiny_bundle(tmp_path, joined=joined)):
        manifest = open_bundle(path).manifest
        for thresholds in product((None, 0.5), repeat=manifest.n_early_exits):
            stages = {s.gate.exit_index: s.macs for s in plan_steps(manifest, thresholds) if s.gate is not None}
            charged = macs(manifest).leaving(thresholds)
            assert {i: charged[i] for i in stages} == stages


def test_a_model_without_early_exits_costs_its_backbone(tmp_path: Path) -> None:
    from eetool.train.pipeline import ExitPlan, attach_exits

    spec = attach_exits("resnet8", (1, 1, 8, 8), 3, ExitPlan(0, "linear"), seed=0).record.spec
    costs = model_macs(spec)
    assert costs.heads == ()
    assert np.array_equal(costs.leaving(()), [sum(costs.trunk)])
    assert len(costs.trunk) == 1
