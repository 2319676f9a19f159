"""The check of inference: every kind of mixing and of noise is found and named, and sound networks pass."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eetool.model.branches import Branch, BranchSpec
from eetool.model.early_exit import EarlyExitNet
from eetool.model.network_check.inference import Fault, find_fault
from eetool.model.references.resolve import keep_logits
from tests.helpers.mixing_networks import CHANGING, CLASSES, MIXING, SOUND, WIDTH, Apply, ClosedGate, Small, Trimmed


def fault_of(module: nn.Module, fresh: bool = True, n: int = 3) -> Fault | None:
    exit_ = Branch(BranchSpec.parse("linear"), (1, WIDTH, 8, 8), CLASSES)
    net = EarlyExitNet(module, {"stages.0": exit_})
    return find_fault(net, {"input": torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))}, fresh)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("make", "place"), MIXING.values(), ids=MIXING)
def test_find_fault_rows_that_mix_are_found_and_named(make: Callable[[], nn.Module], place: str, fresh: bool) -> None:
    fault = fault_of(make(), fresh)
    if place.endswith("(ClosedGate), ") and not fresh:
        assert fault is None, "these weights mix nothing"
        return
    early = "stages.0" in place
    assert fault is not None
    assert fault.reason.startswith(
        f"{'exit 0' if early else 'the final exit'} answers an input differently alone and in a batch: it begins at "
        f"{place}mixing_networks.py:"
    )


@pytest.mark.parametrize(("make", "place"), CHANGING.values(), ids=CHANGING)
def test_find_fault_noise_and_memory_are_found_and_named(make: Callable[[], nn.Module], place: str) -> None:
    fault = fault_of(make())
    assert fault is not None
    assert fault.reason.startswith(
        f"the final exit answers the same input differently again: it begins at {place}mixing_networks.py:"
    )


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_find_fault_sound_network_passes(make: Callable[[], nn.Module], fresh: bool) -> None:
    assert fault_of(make(), fresh) is None


def test_find_fault_small_share_of_the_batch_is_seen_behind_the_conversion_of_logits() -> None:
    """The check computes in 64-bit floats; logits that were rounded to 32 bits would hide the share."""
    small = Apply(lambda x: x + 1e-7 * x.mean(0))
    fault = fault_of(keep_logits(Small(small), ()))
    assert fault is not None
    assert "begins at mean in stages.1 (Apply)" in fault.reason


def test_find_fault_texts_cut_to_the_longest_of_the_batch_are_found() -> None:
    ids = {"ids": torch.randint(1, 20, (3, 10))}
    fault = find_fault(EarlyExitNet(Trimmed(over_all=False), {}), ids, fresh=True)
    assert fault is not None
    assert "the final exit answers an input differently alone and in a batch" in fault.reason
    assert find_fault(EarlyExitNet(Trimmed(over_all=True), {}), ids, fresh=True) is None


@pytest.mark.parametrize("function", [lambda x: x.view(4, WIDTH, 8, 8), lambda x: x.squeeze().flatten(3)])
def test_find_fault_network_that_does_not_run_alone_is_named(function: Callable[[Tensor], Tensor]) -> None:
    fault = fault_of(Small(Apply(function)))
    assert fault is not None
    assert fault.reason.startswith("it does not run at a batch of 1 in stages.1 (Apply), test_inference.py:")
    assert "x.shape[0]" in fault.hint


def test_find_fault_leaves_network_and_random_numbers_as_they_were() -> None:
    net = EarlyExitNet(Small(ClosedGate()), {}).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    find_fault(net, {"input": torch.ones(3, 1, 8, 8)}, fresh=True)
    assert torch.rand(1) == expected
    assert all(module.training for module in net.modules())
    assert all(x.equal(before[name]) and x.dtype == before[name].dtype for name, x in net.state_dict().items())


def test_find_fault_module_that_cannot_be_copied_is_tried_itself() -> None:
    module = Small(Apply(lambda x: x - x.mean(0)))
    module.handle = (i for i in range(1))  # a generator has no copy
    fault = fault_of(module)
    assert fault is not None
    assert "mean in stages.1 (Apply)" in fault.reason
    assert module.training
    assert next(module.parameters()).dtype == torch.float32
