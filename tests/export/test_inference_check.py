"""Checkpoints and bundles of earlier versions, whose answers depend on the batch: refused at export and by `verify`."""

from pathlib import Path

import pytest

from eetool.errors import VerificationError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.bundle_files import save_arrays, write_manifest
from eetool.export.parity import check_bundle, expected_samples
from eetool.export.single_file.export import export_single
from eetool.model.checkpoint import Checkpoint
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime import load, open_bundle

MIXED = (
    "log_softmax_over_rows: the final exit answers an input differently alone and in a batch: it begins at log_softmax "
    "in the network's own forward (LogSoftmaxOverRows), mixing_networks.py:"
)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Checkpoint of a version that did not look for rows that mix."""
    with monkeypatch.context() as patch:
        patch.setattr("eetool.train.network_trial.find_fault", lambda *args, **options: None)
        model = "tests.helpers.mixing_networks:log_softmax_over_rows"
        return attach_exits(model, (1, 1, 8, 8), None, ExitPlan(0), seed=0)


def test_export_checkpoint_whose_rows_mix_is_refused(unchecked: Checkpoint, tmp_path: Path) -> None:
    for refuse in (
        lambda: export_bundle(unchecked, tmp_path / "m.eebundle"),
        lambda: export_single(unchecked, tmp_path / "m.onnx"),
    ):
        with pytest.raises(VerificationError) as refused:
            refuse()
        assert MIXED in refused.value.message
    assert list(tmp_path.iterdir()) == []


def test_check_bundle_recorded_in_a_batch_is_refused_for_inputs_alone(
    unchecked: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.eebundle"
    with monkeypatch.context() as patch:
        patch.setattr("eetool.export.inference_check.find_fault", lambda *args, **options: None)
        patch.setattr("eetool.export.bundle_export.check_bundle", lambda *args: [])
        patch.setattr("eetool.export.bundle_export._require_parity", lambda graphs: None)
        export_bundle(unchecked, path, ExportOptions(references=False))
    model = load(path)
    inputs = open_bundle(path).arrays("samples/inputs.npz")
    save_arrays(
        path / "samples/onnx-fp32.npz", expected_samples(model.bundle.manifest, "onnx/fp32", model.every_exit(inputs))
    )
    write_manifest(path, model.bundle.manifest)
    (failed,) = [check for check in check_bundle(open_bundle(path), "onnx/fp32") if not check.passed]
    assert failed.what == "onnx/fp32 exit0_logits"
    assert failed.found.endswith("in a batch: the answer depends on the batch")
