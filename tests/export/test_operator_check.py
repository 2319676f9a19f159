"""Operators that a converter cannot write, or writes otherwise: found before training, and named at export too."""

import re
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, VerificationError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.single_file.export import export_single
from eetool.export.trial_export import trial_export
from eetool.model.checkpoint import Checkpoint
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits

ANTIALIASED = re.escape("upsample_bilinear2d_aa in stages.1 (Apply), mixing_networks.py:") + r"\d+: off by \d+ %"
BESSEL = re.escape("special_bessel_j0 in stages.1 (Apply), mixing_networks.py:")


def attached(name: str) -> Checkpoint:
    return attach_exits(f"tests.helpers.mixing_networks:{name}", (1, 1, 8, 8), None, ExitPlan(0), 0)


def test_trial_export_operator_without_onnx_form_is_named() -> None:
    with pytest.raises(ArtefactError, match=f"^tests.*:bessel: onnx cannot be written: {BESSEL}") as refused:
        trial_export(attached("bessel"), ["onnx"], "the hint")
    assert refused.value.hint == "the hint"


def test_export_operator_that_computes_otherwise_is_named(tmp_path: Path) -> None:
    antialiased = attached("antialiased")
    with pytest.raises(VerificationError, match=f"onnx-fp32/model.onnx: error .*\nIt begins at {ANTIALIASED}"):
        export_bundle(antialiased, tmp_path / "m.eebundle", ExportOptions(references=False))
    with pytest.raises(VerificationError, match=f"exit 0: error .*\nIt begins at {ANTIALIASED}"):
        export_single(antialiased, tmp_path / "m.onnx", simplify=False)
    assert list(tmp_path.iterdir()) == []
