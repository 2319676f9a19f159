"""Exits on a module of the user's own: what stays as it was, and what is refused before the training."""

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import eetool
from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet
from eetool.model.own_exits import OwnExitNet
from tests.helpers.own_networks import OwnExits, Sized, Small, WithFeatures, wide

IMAGES = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
HERE = "tests.helpers.own_networks"


def attach(module: nn.Module | str | None = None, **options: object) -> EarlyExitNet:
    options = {"exits": 1, "branch": "linear", **options}
    return eetool.attach_exits(Small() if module is None else module, IMAGES, **options)  # type: ignore[arg-type]


def test_attach_exits_keeps_the_module_its_modes_and_its_weights() -> None:
    module = Small()
    module.blocks[1][1].eval()
    before = {name: x.clone() for name, x in module.state_dict().items()}
    net = attach(module, exits=None, at=["blocks.0"])
    assert net.backbone is module
    assert net.training
    assert [part.training for part in module.modules()].count(False) == 1
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())
    assert not module._forward_hooks
    logits = net(IMAGES)
    assert [tuple(x.shape) for x in logits] == [(4, 10)] * 2
    sum(x.sum() for x in logits).backward()  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in net.parameters())


def test_attach_exits_depends_on_the_seed_of_torch_alone() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append({name: x for name, x in attach().state_dict().items() if name.startswith("exits")})
    same = [all(torch.equal(x, states[0][name]) for name, x in state.items()) for state in states]
    assert same == [True, True, False]


def test_attach_exits_state_dict_goes_into_another_network() -> None:
    first, second = attach().eval(), attach(torch.compile(Small(), backend="eager")).eval()  # type: ignore[arg-type]
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first(IMAGES), second(IMAGES), strict=True))


@pytest.mark.parametrize("frozen_by_user", [False, True])
def test_attach_exits_frozen_backbone_keeps_weights_and_statistics(frozen_by_user: bool) -> None:
    module = Small().requires_grad_(not frozen_by_user)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    net = attach(module, freeze_backbone=not frozen_by_user).train()
    assert net.exits.training
    assert not module.training
    optimizer = torch.optim.SGD((x for x in net.parameters() if x.requires_grad), 0.1)
    early = net.exits[0].classifier.weight.clone()  # type: ignore[union-attr,operator]
    eetool.joint_loss(net(IMAGES), torch.arange(4)).backward()
    optimizer.step()
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())
    assert not torch.equal(early, net.exits[0].classifier.weight)  # type: ignore[union-attr]


def test_attach_exits_named_output_leaves_the_module_as_it_is() -> None:
    module = WithFeatures().eval()
    net = attach(module)
    assert not net.training
    assert torch.equal(net(IMAGES)[-1], module(IMAGES)[1])
    assert isinstance(module(IMAGES), tuple)


def test_attach_exits_own_exits_are_the_outputs() -> None:
    net = attach(OwnExits(), exits="own", branch=None)
    assert isinstance(net, OwnExitNet)
    assert [tuple(x.shape) for x in net(IMAGES)] == [(4, 10)] * 2
    frozen = attach(OwnExits(), exits="own", branch=None, freeze_backbone=True).train()
    assert {name for name, x in frozen.named_parameters() if x.requires_grad} == {
        "backbone.early.weight",
        "backbone.early.bias",
    }


def test_attach_exits_reference_with_arguments_or_a_name_of_eetool() -> None:
    for reference in (f"{HERE}:Sized(width=3)", None):
        net = attach(Sized(3), reference=reference) if reference else attach(wide(), reference=wide)
        assert net.attached is not None
        assert net.attached.spec.backbone.startswith(HERE)
    built_in = eetool.attach_exits("resnet8", IMAGES, exits=1, branch="linear", classes=3)
    assert [tuple(x.shape) for x in built_in(IMAGES)] == [(4, 3)] * 2


@pytest.fixture
def notebook() -> Iterator[type[nn.Module]]:
    """Yield a class as a notebook defines it."""
    kind = type("InNotebook", (Small,), {"__module__": "__main__"})
    yield kind
    vars(sys.modules["__main__"]).pop("InNotebook", None)


def test_attach_exits_class_of_a_notebook_is_refused_with_the_way_out(notebook: type[nn.Module]) -> None:
    with pytest.raises(UsageError, match="InNotebook is defined in the program or notebook") as caught:
        attach(notebook())
    assert "from mynet import InNotebook" in str(caught.value.hint)


def local_class() -> type[nn.Module]:
    class Local(Small):
        pass

    return Local


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: Sized(3), {}, "cannot be called without arguments"),
        (lambda: local_class()(), {}, "is defined inside a function"),
        (lambda: Sized(3), {"reference": f"{HERE}:Sized(width=5)"}, "builds another network .*float32"),
        (lambda: Small(rate=2.0), {}, "gives other outputs than this module"),
        (lambda: Small(), {"reference": f"{HERE}:absent"}, "has no 'absent'"),
        (lambda: Small(), {"reference": 3}, "reference is int"),
        (lambda: nn.DataParallel(Small()), {}, "through DataParallel"),
        (lambda: attach(), {}, "has exits already"),
        (lambda: Small, {}, "not to the class Small"),
        (lambda: Small().double(), {}, "weights are not float32"),
        (lambda: Small().to("meta"), {}, "on the device meta"),
        (lambda: torch.jit.trace(Small().eval(), IMAGES), {}, "compiled by torch.jit"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), {}, "lazy layer"),
        (lambda: Small(), {"exits": "two"}, "exits is 'two'"),
        (lambda: Small(), {"exits": 2, "at": ["blocks.0"]}, "exits=2 contradicts at="),
        (lambda: Small(), {"exits": 9}, "9 exits asked for"),
        (lambda: Small(), {"exits": None, "at": "block"}, "unknown tap 'block'"),
        (lambda: Small(), {"branch": "conv9"}, "unknown branch layer"),
        (lambda: Small(), {"classes": 1}, "classes is 1"),
        (lambda: "resnet8", {}, "number of classes of resnet8"),
        (lambda: "resnet8", {"reference": "x:y"}, "a name is its own reference"),
        (lambda: "text-tiny", {"classes": 2}, "how many words text-tiny has to know"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_attach_exits_what_cannot_work_is_refused(make: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        attach(make(), **options)  # type: ignore[operator]
    assert "--" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(2, 1, 32, 32, dtype=torch.float64), "has the dtype float64"),
        (torch.zeros(()), "a single number, not a batch"),
        ("images", "the example is str"),
        ([IMAGES, IMAGES], "does not take 2 inputs"),
        (torch.zeros(2, 3, 32, 32), "the network fails"),
    ],
)
def test_attach_exits_odd_example_is_refused(example: object, message: str) -> None:
    with pytest.raises(eetool.errors.EarlyExitError, match=message):
        eetool.attach_exits(Small(), example)  # type: ignore[arg-type]


def test_early_exit_net_replica_of_data_parallel_is_refused() -> None:
    with pytest.raises(UsageError, match="replicas of a network in threads"):
        attach()._replicate_for_data_parallel()(IMAGES)
