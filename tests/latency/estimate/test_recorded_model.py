"""Recorded checkpoints: the components of their export, without an export."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eetool.errors import UsageError
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.cascade_cost import layout_of_manifest
from eetool.latency.estimate.prediction_target import open_checkpoint, open_target, target_of_variant
from eetool.latency.estimate.recorded_model import RecordedModel, record_checkpoint, with_score
from eetool.model.checkpoint import Checkpoint, load_checkpoint
from eetool.model.gate_scores import MARGIN, MAX_SOFTMAX, PATIENCE
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool.tune.exit_costs import model_macs
from eetool_runtime.bundle import Bundle

PLANS = {
    "plain": ExitPlan(2, "linear"),
    "convolutions": ExitPlan(2, "max2,conv3-16"),
    "cascade": ExitPlan(2, "linear", cascade=True),
}


def checkpoint_of(plan: ExitPlan) -> Checkpoint:
    return attach_exits("resnet8", (1, 1, 8, 8), 3, plan, seed=0)


@contextmanager
def no_export(checkpoint: Checkpoint, name: str) -> Iterator[Bundle]:
    pytest.fail("an export is not needed")
    yield


@pytest.mark.parametrize("plan", PLANS)
def test_record_checkpoint_has_components_macs_and_layout_of_the_export(plan: str) -> None:
    checkpoint = checkpoint_of(PLANS[plan])
    recorded = record_checkpoint(checkpoint, "m")
    with temporary_bundle(checkpoint, "m") as bundle:
        manifest = bundle.manifest
        exported = target_of_variant(bundle, "onnx/fp32", 1)
    assert recorded.kinds == {c.name: c.kind for c in manifest.components}
    assert list(recorded.graphs) == [c.name for c in manifest.components]
    assert recorded.macs == {c.name: c.macs for c in manifest.components}
    assert recorded.layout == layout_of_manifest(manifest)
    macs = recorded.layout.arrange({name: float(count) for name, count in recorded.macs.items()})
    assert macs == model_macs(checkpoint.record.spec)
    kernels = target_of_variant(recorded, "onnx/fp32", 1).graphs
    assert {n: [(k.kind, k.shape) for k in ks] for n, ks in kernels.items()} == {
        n: [(k.kind, k.shape) for k in ks] for n, ks in exported.graphs.items()
    }


def test_open_target_checkpoint_is_not_exported(tuned: Path) -> None:
    with open_target(tuned, no_export) as opened:
        assert isinstance(opened, RecordedModel)
        assert opened.name == tuned.stem
        with pytest.raises(UsageError, match="has no variant 'onnx/int8'"):
            target_of_variant(opened, "onnx/int8", 1)


def test_open_checkpoint_unknown_operator_is_exported() -> None:
    checkpoint = with_score(checkpoint_of(PLANS["plain"]), PATIENCE)
    with open_checkpoint(checkpoint, "m", temporary_bundle) as opened:
        assert isinstance(opened, Bundle)
        target = target_of_variant(opened, "onnx/fp32", 1)
    assert target.layout is not None
    assert target.layout.read_later == model_macs(checkpoint.record.spec, PATIENCE).read_later


def test_open_checkpoint_ensemble_is_exported() -> None:
    checkpoint = checkpoint_of(ExitPlan(2, "linear", ensemble=True))
    with open_checkpoint(checkpoint, "m", temporary_bundle) as opened:
        assert isinstance(opened, Bundle)
        target = target_of_variant(opened, "onnx/fp32", 1)
    assert target.layout is not None
    assert target.layout.reads == model_macs(checkpoint.record.spec).reads


def test_with_score_same_score_keeps_the_policy(tuned: Path) -> None:
    checkpoint = load_checkpoint(tuned)
    assert with_score(checkpoint, MAX_SOFTMAX) is checkpoint
    other = with_score(checkpoint, MARGIN).record.policy
    assert other is not None
    assert (other.score, list(other.operating_points)) == (MARGIN, ["full"])
    assert replace(with_score(checkpoint, MARGIN), record=checkpoint.record) == checkpoint
