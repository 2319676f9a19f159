"""Export with the data and the conditions that it needs: on which machine int8 is judged by its speed."""

from dataclasses import replace
from pathlib import Path

import pytest

from eetool.api.exported_bundle import ExportOrder, judges_speed
from eetool.model.checkpoint import load_checkpoint
from eetool.model.goals import CostSource, TuningGoals
from eetool.progress import Silent


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("device", "asked", "judged", "noted"),
    [
        (None, None, True, False),
        ("host", None, True, False),
        ("rpi4", None, False, True),
        ("rpi4", True, True, False),
        ("rpi4", False, False, False),
        ("host", False, False, False),
    ],
)
def test_judges_speed_unless_the_model_was_tuned_for_another_device(
    tuned: Path, device: str | None, asked: bool | None, judged: bool, noted: bool
) -> None:
    checkpoint, notes = load_checkpoint(tuned), Notes()
    policy = checkpoint.record.policy
    assert policy is not None
    costs = None if device is None else CostSource(device, "latency_ms", "hw_profile", "onnx/fp32")
    checkpoint = checkpoint.with_policy(replace(policy, goals=TuningGoals(1.0, costs=costs)))
    order = ExportOrder(
        checkpoint, Path("b.eebundle"), ("onnx/int8",), "none", None, asked, None, True, True, None, False
    )
    assert judges_speed(order, notes) is judged
    assert any("the model was tuned for rpi4" in line for line in notes.lines) == noted
    assert not judges_speed(replace(order, variants=("onnx/fp32",), judge_speed=False), notes)
