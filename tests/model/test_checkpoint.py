"""model.pt: reading and writing, byte stability, and untrusted files."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eetool.errors import ArtefactError
from eetool.model.branches import LINEAR
from eetool.model.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint, serialise
from eetool.model.spec import Policy
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime.manifest import Data, Expected, OperatingPoint, ReachedConfidence, Split

POLICY = Policy(
    score="max_softmax",
    temperatures=(1.5, 0.25),
    operating_points={
        "full": OperatingPoint((None,)),
        "fast": OperatingPoint(
            (0.75,), Expected("threshold", 3, 1.0, (0.5, 0.5), 0.5, 10.0, (ReachedConfidence(3, 0.5, 0.1), None))
        ),
    },
    max_accuracy_drop=1.0,
)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    plain = attach_exits("resnet8", (1, 1, 8, 8), 3, ExitPlan(1, LINEAR), seed=0)
    record = replace(plain.record, data=Data("digits", {"test": Split(5, "0" * 64)}), policy=POLICY)
    return replace(plain, record=record)


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_load_checkpoint_saved_checkpoint_is_equal(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.record == checkpoint.record
    assert_equal(loaded.state, checkpoint.state)
    assert_equal(loaded.samples, checkpoint.samples)


def test_checkpoint_build_network_has_stored_weights(checkpoint: Checkpoint) -> None:
    net = checkpoint.build()
    assert not net.training
    assert_equal(net.state_dict(), checkpoint.state)


def test_save_checkpoint_any_file_name_gives_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    save_checkpoint(tmp_path / "other", load_checkpoint(tmp_path / "a.pt"))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other").read_bytes()


class Intruder:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_load_checkpoint_with_code_raises_artefact_error_and_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    torch.save({"format": FORMAT, "record": Intruder(target)}, tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match="or a damaged one"):
        load_checkpoint(tmp_path / "model.pt")
    assert not target.exists()


def test_load_checkpoint_missing_file_or_folder_raises_artefact_error(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.pt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ArtefactError, match=f"cannot be read: {reason}"):
            load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"just text\n", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_load_checkpoint_other_file_raises_artefact_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"model\.pt"):
        load_checkpoint(path)


@given(share=st.floats(0, 1, exclude_max=True))
def test_load_checkpoint_truncated_file_raises_artefact_error(
    checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "truncated.pt"
    save_checkpoint(path, checkpoint, force=True)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(ArtefactError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ([1, 2], "expected a file of format 'eetool-model/1', found None"),
        ({"format": "eetool-model/2"}, "found 'eetool-model/2'"),
        ({"format": FORMAT}, "its record or its tensors are missing"),
        ({"format": FORMAT, "record": "{}", "state": {}, "samples": {"input": "noise"}}, "tensors are missing"),
        ({"format": FORMAT, "record": "{}", "state": {}, "samples": {}}, "spec: missing field"),
        ({"format": FORMAT, "record": "{", "state": {}, "samples": {}}, "not valid JSON"),
    ],
)
def test_load_checkpoint_other_content_raises_artefact_error(tmp_path: Path, stored: Any, reason: str) -> None:
    torch.save(stored, tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match=reason):
        load_checkpoint(tmp_path / "model.pt")


def test_load_checkpoint_inconsistent_record_raises_artefact_error(checkpoint: Checkpoint, tmp_path: Path) -> None:
    record, spec = checkpoint.record, checkpoint.record.spec
    odd_input = replace(spec.inputs[0], dtype="float128")
    for reason, wrong in {
        "branches than exits": replace(record, spec=replace(spec, branches=())),
        "temperatures than exits": replace(record, policy=replace(POLICY, temperatures=(1.0,))),
        "no inputs": replace(record, spec=replace(spec, inputs=())),
        "unknown dtype": replace(record, spec=replace(spec, inputs=(odd_input,))),
    }.items():
        save_checkpoint(tmp_path / "model.pt", replace(checkpoint, record=wrong), force=True)
        with pytest.raises(ArtefactError, match=reason):
            load_checkpoint(tmp_path / "model.pt")


def test_checkpoint_build_weights_of_another_network_raises_artefact_error(checkpoint: Checkpoint) -> None:
    spec = replace(checkpoint.record.spec, backbone="resnet20")
    other = replace(checkpoint, record=replace(checkpoint.record, spec=spec))
    with pytest.raises(ArtefactError, match="the tensors do not fit resnet20"):
        other.build()


def test_serialise_after_other_values_gives_same_bytes() -> None:
    value = {"a": torch.arange(4), "b": "text"}
    first = serialise(value)
    serialise({"c": torch.zeros(3)})
    assert serialise(value) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": {"backbone.conv1.weight": torch.nan}}, r"its weights: .*\n  backbone.conv1.weight: 144 NaN of 144"),
        ({"state": {"backbone.bn1.running_var": -1}}, r"backbone.bn1.running_var: 16 of 16 variances are negative"),
        ({"samples": {"input": torch.inf}}, r"its sample inputs: .*\n  input: 2048 infinite of 2048 values"),
    ],
)
def test_load_checkpoint_values_that_are_no_numbers_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, change: dict[str, dict[str, float]], message: str
) -> None:
    for part, values in change.items():
        tensors = getattr(checkpoint, part)
        spoilt = {name: torch.full_like(tensors[name], value) for name, value in values.items()}
        save_checkpoint(tmp_path / "m.pt", replace(checkpoint, **{part: {**tensors, **spoilt}}))
    with pytest.raises(ArtefactError, match=message):
        load_checkpoint(tmp_path / "m.pt")


def test_checkpoint_build_integers_in_place_of_floats_are_refused(checkpoint: Checkpoint) -> None:
    name = "backbone.conv1.weight"
    damaged = replace(checkpoint, state={**checkpoint.state, name: checkpoint.state[name].to(torch.int8)})
    with pytest.raises(ArtefactError, match=r"conv1.weight is torch.int8 where torch.float32 is needed"):
        damaged.build()
