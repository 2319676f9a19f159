"""Text of `eetool train`: the figures that later commands repeat."""

from pathlib import Path

from eetool.cli.train_output import train_result
from eetool.model.checkpoint import load_checkpoint


def test_train_result_full_depth_has_the_macs_that_tune_lists(tuned: Path) -> None:
    checkpoint = load_checkpoint(tuned)
    assert checkpoint.record.policy is not None
    expected = checkpoint.record.policy.operating_points["full"].expected
    assert expected is not None
    lines = train_result(tuned, checkpoint, None, 0).text
    assert f"full depth without early exits, `full` of tune: {expected.mean_macs / 1e6:.2f} M MACs" in lines
