"""Traced models whose exits are no numbers."""

from dataclasses import replace

import pytest
import torch

from eetool.errors import ArtefactError
from eetool.export.traced_model import trace_model
from eetool.model.checkpoint import Checkpoint
from eetool.train.exit_answers import every_exit_logits
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits


@pytest.fixture(scope="module")
def overflowing() -> Checkpoint:
    """Weights of 1e38 are finite, and what they give is not."""
    plain = attach_exits("mlp-4x2", (1, 4), 2, ExitPlan(1, "linear"), seed=0)
    large = {name: torch.full_like(x, 1e38) if name.endswith(".weight") else x for name, x in plain.state.items()}
    return replace(plain, state=large)


def test_every_exit_logits_overflow_names_exit_and_module(overflowing: Checkpoint) -> None:
    with pytest.raises(
        ArtefactError, match=r"exit 0 gives 6 infinite values: the module 'backbone.layers.0.0' \(Linear\) gives 12"
    ):
        every_exit_logits(overflowing, torch.ones(3, 4).numpy())


def test_cases_overflow_names_the_module(overflowing: Checkpoint) -> None:
    traced = trace_model(overflowing, references=False)
    with pytest.raises(ArtefactError, match=r"for the model's samples: the module '\S+' \(\w+\) gives"):
        traced.cases(None)
    with pytest.raises(ArtefactError, match=r"for calibration input 0: the module"):
        list(traced.calibration({overflowing.record.spec.inputs[0].name: torch.ones(2, 4).numpy()}))
