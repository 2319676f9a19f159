"""Networks of factories: the forms that are converted, and those that are refused with the reason."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.references.network_form import accepted_form, check_arguments
from eetool.model.references.resolve import keep_logits


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_accepted_form_other_floats_become_float32_with_the_same_values(dtype: torch.dtype) -> None:
    net = network().to(dtype)
    values = [tensor.clone() for tensor in net.state_dict().values()]
    made = accepted_form(net, "mine:net")
    assert {t.dtype for t in made.state_dict().values() if t.is_floating_point()} == {torch.float32}
    assert all(torch.equal(t, v.to(t.dtype)) for t, v in zip(made.state_dict().values(), values, strict=True))
    assert made(torch.ones(1, 4)).dtype == torch.float32


def test_accepted_form_takes_the_network_out_of_torch_compile() -> None:
    net = network()
    assert accepted_form(torch.compile(net, backend="eager"), "mine:net") is net  # type: ignore[arg-type]


def partly_scripted() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(torch.jit.script(nn.Linear(4, 3))))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: torch.jit.script(network()), "the whole network"),
        (lambda: torch.jit.trace(network(), torch.zeros(1, 4)), "the whole network"),
        (partly_scripted, "1.0"),
    ],
)
def test_accepted_form_network_of_torch_jit_is_refused(make: Callable[[], nn.Module], where: str) -> None:
    with pytest.raises(UsageError) as refused:
        accepted_form(make(), "mine:net")
    assert refused.value.message.startswith(f"mine:net is compiled by torch.jit ({where}), so no exit can be attached")
    assert "torch.jit.script" in str(refused.value.hint)


def test_accepted_form_network_without_values_is_refused_except_in_a_size_check() -> None:
    net = network()
    net[2].to("meta")
    with pytest.raises(UsageError, match=r"mine:net: the tensor 2\.weight and 1 more is on the device meta"):
        accepted_form(net, "mine:net")
    with torch.device("meta"):
        assert accepted_form(network(), "mine:net")[0].weight.is_meta


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class ByName(nn.Module):
    def forward(self, *, x: Tensor) -> Tensor:
        return x


class Optional(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        return x * scale


@pytest.mark.parametrize(
    ("net", "inputs", "reason", "hint"),
    [
        (Pair(), ["input"], r"does not take 1 input \(input\): missing a required argument: 'y'", "one per input"),
        (ByName(), ["x"], r"does not take 1 input \(x\): too many positional arguments", "by position"),
        (Optional(), ["a", "b", "c"], r"does not take 3 inputs \(a, b, c\): too many", "one per input"),
    ],
)
def test_check_arguments_forward_of_other_inputs_is_refused(
    net: nn.Module, inputs: list[str], reason: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        check_arguments(net, inputs, "mine:net")
    assert hint in str(refused.value.hint)


def test_check_arguments_optional_ones_may_be_left_away() -> None:
    check_arguments(Optional(), ["x"], "mine:net")
    check_arguments(Pair(), ["x", "y"], "mine:net")
    check_arguments(nn.Sequential(), ["x"], "mine:net")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_logits_of_any_float_become_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.5, -2.0]], dtype=dtype)
    kept = keep_logits(nn.Identity(), ())({"logits": logits})
    assert kept.dtype == torch.float32
    assert kept.tolist() == [[0.5, -2.0]]
