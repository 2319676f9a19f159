"""Errors of the user's code are told as its own; those of eetool pass."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, UsageError
from eetool.export.split import trace_network
from eetool.model.backbones.registry import build_backbone
from eetool.model.early_exit import EarlyExitNet
from eetool.model.graph_recorder import UnknownOperatorError
from eetool.model.macs import count_macs
from eetool.model.taps import measure_taps
from eetool.model.user_code import user_code


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(7, -1)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(Broken())).eval()


X = (torch.zeros(2, 4),)
PLACE = rf"the network fails in 1\.0 \(Broken\), {Path(__file__).name}:21: RuntimeError: shape '\[7, -1\]' is invalid"


def test_user_code_every_way_to_run_a_network_names_module_and_line() -> None:
    net = network()
    for run in (
        lambda: EarlyExitNet(net, {"0": nn.Identity()})(*X),
        lambda: count_macs(net, X),
        lambda: measure_taps(net, X),
    ):
        with pytest.raises(ArtefactError, match=PLACE) as told:
            run()
        assert isinstance(told.value.__cause__, RuntimeError)


def test_user_code_in_a_trace_is_left_to_the_errors_of_the_trace() -> None:
    place = rf"torch\.export cannot trace this network in 1\.0 \(Broken\), {Path(__file__).name}:21"
    with pytest.raises(ArtefactError, match=place):
        trace_network(EarlyExitNet(network(), {}), X, 1)


@pytest.mark.parametrize("error", [UsageError("x"), UnknownOperatorError("x"), KeyboardInterrupt()])
def test_user_code_errors_of_eetool_and_interruptions_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as passed, user_code("mine:net"):
        raise error
    assert passed.value is error


def test_user_code_fault_of_a_built_in_backbone_passes() -> None:
    net = build_backbone("resnet8", (1, 3, 8, 8), 3).eval()
    del net.conv1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        count_macs(net, (torch.zeros(1, 3, 8, 8),))


def test_user_code_end_of_the_program_is_an_error() -> None:
    reason = r"mine:net fails in test_user_code\.py:\d+: it ends the program"
    with pytest.raises(ArtefactError, match=reason), user_code("mine:net"):
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Input type (double) and bias type (float) should be the same", "float32"),
        ("expected mat1 and mat2 to have the same dtype, but got: BFloat16 != float", "float32"),
        ("modified by an inplace operation: …", "x = x + 1"),
        ("Inference tensors cannot be saved for backward.", "torch.inference_mode"),
        ("Expected all tensors to be on the same device, but found two", "on the device of its input"),
        ("DefaultCPUAllocator: can't allocate memory", "smaller"),
        ("anything else", "not of eetool"),
    ],
)
def test_user_code_hint_follows_the_reason(message: str, hint: str) -> None:
    with pytest.raises(ArtefactError) as told, user_code("mine:net"):
        raise RuntimeError(message)
    assert hint in str(told.value.hint)
