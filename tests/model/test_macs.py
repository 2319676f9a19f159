"""MACs by hand and by the literature; exits where they divide the work."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.backbones import build_backbone
from eetool.model.macs import Tap, count_macs, count_parameters, measure_taps, order_taps, place_exits

IMAGE = (torch.zeros(1, 8, 10, 10),)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(8, 16, 3, padding=1), 16 * 8 * 3 * 3 * 10 * 10),
        (nn.Conv2d(8, 16, 3, padding=1, stride=2), 16 * 8 * 3 * 3 * 5 * 5),
        (nn.Conv2d(8, 16, 3, padding=1, groups=4), 16 * 2 * 3 * 3 * 10 * 10),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), 8 * 1 * 5 * 5 * 10 * 10),
        (nn.Conv2d(8, 16, 1), 16 * 8 * 10 * 10),
        (nn.Sequential(nn.Flatten(), nn.Linear(800, 7)), 800 * 7),
        (nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)).eval(), 0),
    ],
)
def test_macs_of_layers_are_those_counted_by_hand(layer: nn.Module, macs: int) -> None:
    assert count_macs(layer, IMAGE) == macs
    assert count_macs(layer, (IMAGE[0].expand(3, -1, -1, -1),)) == 3 * macs


@pytest.mark.parametrize(
    ("name", "mega_macs", "mega_parameters"),
    # He et al., arXiv 1512.03385, table 6, for parameters; MACs as published by HRank, arXiv 2002.10179, for the last
    # two, and counted by hand from the table of layers for the first.
    [("resnet20", 40.55, 0.27), ("resnet56", 125.49, 0.85), ("resnet110", 252.89, 1.7)],
)
def test_resnets_have_their_published_size(name: str, mega_macs: float, mega_parameters: float) -> None:
    backbone = build_backbone(name, (1, 3, 32, 32), 10).eval()
    assert count_macs(backbone, (torch.zeros(1, 3, 32, 32),)) / 1e6 == pytest.approx(mega_macs, abs=0.01)
    assert count_parameters(backbone) / 1e6 == pytest.approx(mega_parameters, rel=0.02)


class Stacked(nn.Module):
    """Registers its blocks in another order than that in which they run; one never runs, one runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Sequential(nn.Linear(8, 8))
        self.early = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8))
        self.odd = nn.Sequential(nn.Tanh(), nn.Linear(8, 8))
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.early(x)
        return self.classifier(self.late(self.odd[0](self.odd[0](x))))


VECTOR = (torch.zeros(1, 4),)


def test_taps_come_in_running_order_with_what_was_spent_by_then() -> None:
    assert measure_taps(Stacked(), VECTOR) == [
        Tap("early.0", (1, 8), 4 * 8, 4 * 8 + 8),
        Tap("early.1", (1, 8), 4 * 8 + 8 * 8, 4 * 8 + 8 + 8 * 8 + 8),
        Tap("late.0", (1, 8), 4 * 8 + 2 * 8 * 8, 4 * 8 + 8 + 2 * (8 * 8 + 8)),
    ]


def test_shared_weights_count_once_and_their_work_every_time() -> None:
    block = nn.Linear(4, 4, bias=False)
    first, second = measure_taps(
        nn.Sequential(nn.Sequential(block), nn.Sequential(block, nn.Tanh())), VECTOR, ("0", "1")
    )
    assert (first.macs, first.parameters) == (16, 16)
    assert (second.macs, second.parameters) == (32, 16)


def test_a_block_that_stands_in_two_stacks_is_no_tap() -> None:
    block = nn.Linear(4, 4)
    assert measure_taps(nn.Sequential(nn.Sequential(block), nn.Sequential(block)), VECTOR) == []


def test_measuring_leaves_the_mode_of_the_backbone_alone() -> None:
    backbone = Stacked()
    measure_taps(backbone.train(), VECTOR)
    assert backbone.training


def test_no_taps_asked_for_are_no_taps() -> None:
    assert measure_taps(Stacked(), VECTOR, ()) == []


def test_named_taps_are_brought_into_running_order() -> None:
    assert order_taps(Stacked(), VECTOR, ("late.0", "early.0")) == ("early.0", "late.0")


@pytest.mark.parametrize(
    ("taps", "reason"),
    [
        (("early.0", "early.0"), "named twice"),
        (("early.9",), "unknown tap 'early.9'"),
        (("odd.0",), "tap 'odd.0' runs more than once"),
        (("odd.1",), "tap 'odd.1' does not run"),
        (("early.0", "classifier"), "tap 'classifier' saves nothing"),
    ],
)
def test_taps_that_make_no_exit_are_refused(taps: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        order_taps(Stacked(), VECTOR, taps)


def taps_after(macs: list[int]) -> list[Tap]:
    return [Tap(f"block{i}", (1, 4), m, 0) for i, m in enumerate(macs)]


@given(st.lists(st.integers(0, 999), min_size=1, max_size=30).map(sorted), st.data())
def test_placed_exits_are_in_order_and_each_as_near_to_its_part_as_its_neighbours_allow(
    macs: list[int], data: st.DataObject
) -> None:
    total, count = 1000, data.draw(st.integers(1, len(macs)))
    chosen = [int(name.removeprefix("block")) for name in place_exits(taps_after(macs), total, count)]
    assert len(chosen) == count
    assert chosen == sorted(set(chosen))
    fences = [-1, *chosen, len(macs)]
    for i, index in enumerate(chosen):
        target = total * (i + 1) / (count + 1)
        between = range(fences[i] + 1, fences[i + 2])
        assert abs(macs[index] - target) == min(abs(macs[j] - target) for j in between)


def test_equal_blocks_are_divided_equally() -> None:
    assert place_exits(taps_after([10, 20, 30, 40, 50]), 60, 2) == ("block1", "block3")
    assert place_exits(taps_after([10, 20, 30, 40, 50]), 60, 0) == ()


def test_more_exits_than_places_are_refused() -> None:
    with pytest.raises(UsageError, match="3 exits asked for; this backbone has 2 places"):
        place_exits(taps_after([10, 20, 60]), 60, 3)
