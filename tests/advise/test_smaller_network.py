"""Suggestion of a smaller network: only one with clearly fewer MACs, with the options of the other commands."""

import numpy as np
import pytest

from eetool.advise.next_commands import SMALLER, CommandContext, next_steps
from eetool.advise.smaller_network import smaller_network
from eetool.data.source import Source


def images(side: int) -> Source:
    return Source("folder:x", np.zeros((2, 3, side, side), np.uint8), np.array([0, 1]), ("a", "b"), None)


@pytest.mark.parametrize(
    ("side", "macs", "name"), [(32, 40e6, "resnet8"), (96, 72e6, "mobilenetv3-small"), (32, 1e5, None)]
)
def test_smaller_network_is_smaller_at_the_size_of_the_images(side: int, macs: float, name: str | None) -> None:
    assert smaller_network(images(side), macs) == name


def test_next_steps_smaller_network_has_the_data_options_of_the_others() -> None:
    context = CommandContext(
        "a:b", ("--weights", "w"), ("--input", "3x96x96"), "folder:x", "test", None, (), 1.0, "a:b"
    )
    steps = {step.recipe: step.commands for step in next_steps(context, [], None, "resnet8")}
    assert steps[SMALLER][0] == (
        "eetool train resnet8 --data folder:x --input 3x96x96 --hold-out test --exits 0 -o small.pt"
    )
    assert SMALLER not in {step.recipe for step in next_steps(context, [], None, None)}
