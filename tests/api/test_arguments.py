"""Arguments of the functions: what is invalid is refused before any work, in the words of Python."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import eetool
from eetool.errors import OutputError, UsageError
from eetool.model.checkpoint import Checkpoint
from tests.helpers.own_networks import Small

NOWHERE = "absent.pt"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eetool.tune(NOWHERE, "digits", max_accuracy_drop=101), "max_accuracy_drop is 101"),
        (lambda: eetool.tune(NOWHERE, "digits", certify=1), "certify is 1"),
        (lambda: eetool.tune(NOWHERE, "digits", drops=[1, -2]), "drops is -2"),
        (lambda: eetool.tune(NOWHERE, "digits", score="softmax"), "score is 'softmax'"),
        (lambda: eetool.tune(NOWHERE, "digits", calibration="plat"), "calibration is 'plat'"),
        (lambda: eetool.tune(NOWHERE, "digits", max_macs=True), "max_macs is True"),
        (lambda: eetool.tune(NOWHERE, "digits", max_latency_ms=4), "a budget of which device"),
        (lambda: eetool.tune(NOWHERE, "digits", max_macs=4, device="rpi4"), "minimise one cost"),
        (lambda: eetool.tune(NOWHERE, "digits", max_macs=4, max_energy_mj=1), "minimise one cost"),
        (lambda: eetool.tune(NOWHERE, "digits", device="rpi4", profile="p.json"), "predicts"),
        (lambda: eetool.tune(b"x", "digits"), "bytes"),
        (lambda: eetool.calibrate(NOWHERE, "digits", method="plat"), "method is 'plat'"),
        (lambda: eetool.export(NOWHERE, formats="onx"), "formats is 'onx'"),
        (lambda: eetool.export(NOWHERE, precisions=[]), "precisions is empty"),
        (lambda: eetool.export(NOWHERE, profile="p.json"), "decides by"),
        (lambda: eetool.export(NOWHERE, formats=3), "formats is 3"),
        (lambda: eetool.estimate(NOWHERE, "host"), "host is measured"),
        (lambda: eetool.estimate(NOWHERE, "rpi4", threads=0), "threads is 0"),
        (lambda: eetool.bench(NOWHERE, "digits", passes=0), "passes is 0"),
        (lambda: eetool.train("resnet8", "digits", epochs=-1), "epochs is -1"),
        (lambda: eetool.train("resnet8", "digits", recipe="joined"), "recipe is 'joined'"),
        (lambda: eetool.train("resnet8", "digits", learning_rte=1), "no argument 'learning_rte'"),
        (lambda: eetool.train("resnet8", "digits", optimizer="adam"), "optimizer is 'adam'"),
        (lambda: eetool.train("resnet8", "digits", augment="storng"), "augment is 'storng'"),
        (lambda: eetool.train("resnet8", "digits", keep="bset"), "keep is 'bset'"),
        (lambda: eetool.train("resnet8", "digits", mirror="no"), "mirror is 'no'"),
        (lambda: eetool.train("resnet8", "digits", feature_views=2), "frozen backbone"),
        (lambda: eetool.train("resnet8", "digits", teacher="t.pt"), "no use for a teacher"),
        (lambda: eetool.train("resnet8", "digits", targets="backbone"), "frozen backbone"),
        (lambda: eetool.train("resnet8", "digits", resume=True), "resume without an output"),
        (lambda: eetool.train("resnet8", "digits", trial_export="tf"), "trial_export is 'tf'"),
        (lambda: eetool.train("resnet8", "digitz"), "unknown data source"),
        (lambda: eetool.train("resnet8", "digits", recipe="frozen"), "trained backbone"),
        (lambda: eetool.train(Small(), "digits"), "one that is built"),
        (lambda: eetool.train(3, "digits"), "int is no network"),
        (lambda: eetool.load_data("digits", normalise=((0,), (1, 2))), "channels"),
    ],
)
def test_functions_invalid_arguments_are_usage_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "--" not in f"{caught.value.message} {caught.value.hint}"


def test_train_equals_the_command_and_leaves_no_state(trained: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    path = tmp_path / "model.pt"
    checkpoint = eetool.train("resnet8", "digits", path, exits=1, branch="linear", epochs=0, label_smoothing=0.1)
    options = ("--exits", 1, "--branch", "linear", "--epochs", 0, "--label-smoothing", 0.1, "-o", tmp_path / "cli.pt")
    assert cli("train", "resnet8", "--data", "digits", *options).code == 0
    assert (tmp_path / "cli.pt").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cli.pt", "model.pt"]
    assert isinstance(checkpoint, Checkpoint)
    with pytest.raises(OutputError, match=r"exists|was not given") as caught:
        eetool.train("resnet8", "digits", path, epochs=0)
    assert "force=True" in f"{caught.value.message} {caught.value.hint}"


def test_tune_model_tuned_before_needs_force(tuned: Path) -> None:
    with pytest.raises(OutputError, match="was tuned before") as caught:
        eetool.tune(tuned, "digits")
    assert "force=True" in str(caught.value.hint)


def test_tune_bundle_and_bench_return_records(bundle_copy: Path) -> None:
    tuned = eetool.tune(bundle_copy, "digits", max_accuracy_drop=6, drops=[2], force=True)
    assert tuned.checkpoint is None
    assert "drop-2" in tuned.operating_points
    assert tuned.goals.max_accuracy_drop == 6
    measured = eetool.bench(bundle_copy, "digits", passes=1, min_seconds=0, accept_unstable=True)
    assert {"unsplit", "full", "fast", "drop-2"} <= {way.operating_point or way.kind for way in measured.ways}
    assert measured.pool == "private"
    assert measured.verdict.text


def test_functions_print_nothing_and_report_progress(trained: Path, tmp_path: Path, capfd: Any) -> None:
    from contextlib import contextmanager

    seen: list[str] = []

    class Listener:
        @contextmanager
        def __call__(self, what: str, total: int) -> Any:
            seen.append(what)
            yield lambda steps: None

        def note(self, line: str) -> None:
            seen.append(line)

    eetool.export(trained, tmp_path / "model.eebundle", reference_graphs=False, progress=Listener())
    assert "exporting" in seen
    assert any("never tuned" in line for line in seen)
    assert capfd.readouterr() == ("", "")


def test_losses_odd_shapes_are_usage_errors() -> None:
    logits, labels = [torch.randn(3, 4), torch.randn(3, 4)], torch.tensor([0, 1, 2])
    for message, call in (
        ("one tensor, not one", lambda: eetool.joint_loss(logits[0], labels)),
        ("empty", lambda: eetool.joint_loss([], labels)),
        ("labels are", lambda: eetool.joint_loss(logits, labels[:2])),
        ("labels are", lambda: eetool.joint_loss(logits, labels.float())),
        ("3 weights for 2 exits", lambda: eetool.joint_loss(logits, labels, weights=[1, 1, 1])),
        ("share is 2", lambda: eetool.distillation_loss(logits, labels, share=2)),
        ("teacher is", lambda: eetool.distillation_loss(logits, labels, teacher=torch.randn(3, 5))),
    ):
        with pytest.raises(UsageError, match=message):
            call()  # type: ignore[no-untyped-call]
