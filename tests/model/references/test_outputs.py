"""Outputs of networks by name."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from eetool.errors import UsageError
from eetool.model.references.outputs import find_output, find_outputs, list_outputs
from tests.helpers import multi_exit_networks as networks


def test_list_outputs_names_are_paths() -> None:
    a, b, c = (torch.zeros(2, i) for i in (1, 2, 3))
    value = {"logits": [a, (b, None)], "more": networks.Result(None, c, [a]), 7: networks.Pair(b, None)}
    assert [(x.name, x.tensor) for x in list_outputs(value)] == [
        ("logits.0", a),
        ("logits.1.0", b),
        ("more.scores", c),
        ("more.hidden.0", a),
        ("7.logits", b),
    ]
    assert [x.name for x in list_outputs(SimpleNamespace(logits=a, mask=b))] == ["logits", "mask"]
    assert [x.name for x in list_outputs(a)] == [""]
    circle: list[object] = [a]
    circle.append(circle)
    assert [x.name for x in list_outputs(circle)][:2] == ["0", "1.0"]


def test_find_output_tensor_alone_has_every_name_and_exits_have_not() -> None:
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    assert find_output({"logits": [a, b]}, "logits.1") is b
    assert find_output(a, "logits") is a
    assert find_output([a, b], "2") is None
    assert find_outputs([a, b], ["1", "0"], nn.Identity()) == [b, a]
    with pytest.raises(UsageError, match="returns no output '0'"):
        find_outputs(a, ["0"], nn.Identity())
