"""MACs of a model and of its bundle, arranged by exit."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.model.checkpoint import load_checkpoint
from eetool.tune.exit_costs import manifest_macs, model_macs
from eetool_runtime import open_bundle
from eetool_runtime.execution_plan import plan_steps
from tests.helpers.tiny_bundle import write_tiny_bundle


def test_manifest_macs_of_bundle_equal_model_macs(bundle: Path, tuned: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert manifest_macs(manifest) == model_macs(load_checkpoint(tuned).record.spec)


def test_layout_of_manifest_arranges_latencies_like_macs(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    latency_ms = {"seg0": 8.0, "exit0": 1.0, "seg1": 4.0, "exit1": 2.0, "exit2": 16.0}
    assert layout_of_manifest(manifest).arrange(latency_ms) == CascadeCosts((8.0, 4.0, 16.0), (1.0, 2.0))


@pytest.mark.parametrize("joined", [False, True])
def test_manifest_macs_are_those_that_the_runtime_runs(bundle: Path, tmp_path: Path, joined: bool) -> None:
    for path in (bundle, write_tiny_bundle(tmp_path, joined=joined)):
        manifest = open_bundle(path).manifest
        for thresholds in product((None, 0.5), repeat=manifest.n_early_exits):
            steps = {s.gate.exit_index: s.macs for s in plan_steps(manifest, thresholds) if s.gate is not None}
            charged = manifest_macs(manifest).leaving(thresholds)
            assert {i: charged[i] for i in steps} == steps


def test_model_macs_without_early_exits_are_those_of_the_backbone(tmp_path: Path) -> None:
    from eetool.train.exit_plan import ExitPlan
    from eetool.train.pipeline import attach_exits

    spec = attach_exits("resnet8", (1, 1, 8, 8), 3, ExitPlan(0, "linear"), seed=0).record.spec
    costs = model_macs(spec)
    assert costs.heads == ()
    assert np.array_equal(costs.leaving(()), [sum(costs.trunk)])
    assert len(costs.trunk) == 1
