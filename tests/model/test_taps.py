"""Taps: their cost and order, and the placement of exits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.macs import count_macs
from eetool.model.taps import TapCost, finer_taps, listed_taps, measure_taps, order_taps, place_exits


class Stacked(nn.Module):
    """Network whose blocks run in another order than they are registered; one never runs, one runs twice."""

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


def test_measure_taps_stacked_modules_give_cumulative_costs_in_order() -> None:
    assert listed_taps(measure_taps(Stacked(), VECTOR)) == [
        TapCost("early.0", (1, 8), 4 * 8, 4 * 8 + 8, layout="NC"),
        TapCost("early.1", (1, 8), 4 * 8 + 8 * 8, 4 * 8 + 8 + 8 * 8 + 8, layout="NC"),
        TapCost("late.0", (1, 8), 4 * 8 + 2 * 8 * 8, 4 * 8 + 8 + 2 * (8 * 8 + 8), layout="NC"),
    ]


def test_measure_taps_shared_weights_count_once_but_macs_every_time() -> None:
    block = nn.Linear(4, 4, bias=False)
    first, second = measure_taps(
        nn.Sequential(nn.Sequential(block), nn.Sequential(block, nn.Tanh())), VECTOR, ("0", "1")
    )
    assert (first.macs, first.parameters) == (16, 16)
    assert (second.macs, second.parameters) == (32, 16)


def test_measure_taps_block_in_two_stacks_is_left_out() -> None:
    block = nn.Linear(4, 4)
    taps = measure_taps(nn.Sequential(nn.Sequential(block), nn.Sequential(block)), VECTOR)
    assert [tap.name for tap in taps] == ["0"], "the stack around its first run is one"


class Residual(nn.Module):
    """Residual block, inside which a cut crosses two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.side = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.side(x)  # not used
        return x + self.layers(x)


def test_measure_taps_residual_branch_has_two_crossing_tensors() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Residual(), Residual(), nn.Linear(4, 3))
    crossing = {tap.name: tap.crossing for tap in measure_taps(net, VECTOR)}
    assert crossing == {
        **dict.fromkeys(("0", "1", "2"), 1),
        **{f"{block}.layers.{i}": 2 for block in (1, 2) for i in range(3)},
        **{f"{block}.layers": 2 for block in (1, 2)},
    }


def test_place_exits_residual_branches_are_avoided() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Residual(), Residual(), nn.Linear(4, 3))
    taps = measure_taps(net, VECTOR)
    assert place_exits(taps, count_macs(net, VECTOR), 2) == ("1", "2")
    assert [tap.name for tap in listed_taps(taps)] == ["0", "1", "2"]


def test_measure_taps_mask_of_inputs_alone_does_not_cross() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            keep = 1.0 - mask.float()
            for block in self.blocks:
                x = block(x) * keep
            return x

    taps = measure_taps(Masked(), (torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.int64)))
    assert [(tap.name, tap.crossing) for tap in taps] == [("blocks.0", 1), ("blocks.1", 1), ("blocks.2", 1)]


def test_measure_taps_overwritten_tensor_is_left_out() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    assert [tap.name for tap in measure_taps(net, VECTOR)] == ["1"]


def test_place_exits_coarse_blocks_use_finer_places() -> None:
    taps = [
        TapCost("inner.0", (1, 4), 20, 0, level=1),
        TapCost("inner.1", (1, 4), 50, 0, level=1),
        TapCost("outer", (1, 4), 90, 0),
    ]
    assert place_exits(taps, 100, 1) == ("inner.1",)


def test_place_exits_no_single_crossing_uses_two_tensors() -> None:
    taps = [TapCost("two.0", (1, 4), 50, 0, crossing=2), TapCost("one", (1, 4), 95, 0)]
    assert place_exits(taps, 100, 1) == ("two.0",)


def test_measure_taps_unclear_layout_is_left_out() -> None:
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(1, 2), nn.Unflatten(1, (4, 6)), nn.Flatten(), nn.Linear(24, 3))
    taps = {tap.name: tap.layout for tap in measure_taps(net, (torch.zeros(1, 2, 8),))}
    assert taps == {"0": "NCL", "1": "NC", "2": "NCL", "3": "NC"}, "a view back gives the same axes"
    net[2] = nn.Unflatten(1, (6, 4))
    assert [tap.name for tap in measure_taps(net, (torch.zeros(1, 2, 8),))] == ["0", "1", "3"]


def test_measure_taps_training_mode_stays_unchanged() -> None:
    backbone = Stacked()
    measure_taps(backbone.train(), VECTOR)
    assert backbone.training


def test_measure_taps_no_names_gives_no_taps() -> None:
    assert measure_taps(Stacked(), VECTOR, ()) == []


def test_order_taps_names_are_sorted_by_running_order() -> None:
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
def test_order_taps_invalid_tap_raises_usage_error(taps: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        order_taps(Stacked(), VECTOR, taps)


def taps_after(macs: list[int]) -> list[TapCost]:
    return [TapCost(f"block{i}", (1, 4), m, 0) for i, m in enumerate(macs)]


@given(st.sets(st.integers(0, 999), min_size=1, max_size=30).map(sorted), st.data())
def test_place_exits_any_taps_are_ordered_and_nearest_to_targets(macs: list[int], data: st.DataObject) -> None:
    total, count = 1000, data.draw(st.integers(1, len(macs)))
    chosen = [int(name.removeprefix("block")) for name in place_exits(taps_after(macs), total, count)]
    assert len(chosen) == count
    assert chosen == sorted(set(chosen))
    fences = [-1, *chosen, len(macs)]
    for i, index in enumerate(chosen):
        target = total * (i + 1) / (count + 1)
        between = range(fences[i] + 1, fences[i + 2])
        assert abs(macs[index] - target) == min(abs(macs[j] - target) for j in between)


def test_place_exits_equal_blocks_are_divided_equally() -> None:
    assert place_exits(taps_after([10, 20, 30, 40, 50]), 60, 2) == ("block1", "block3")
    assert place_exits(taps_after([10, 20, 30, 40, 50]), 60, 0) == ()


def test_place_exits_more_exits_than_places_raises_usage_error() -> None:
    with pytest.raises(UsageError, match="3 exits asked for; this backbone has 2 places"):
        place_exits(taps_after([10, 20, 60]), 60, 3)


class Regularised(nn.Module):
    """Block that ends with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(8, 8), nn.Linear(8, 8), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        dropped: Tensor = self.drop(self.second(self.first(x).relu()))
        return dropped


def test_place_exits_any_number_takes_listed_and_finer_taps_and_no_dropout() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(*(Regularised() for _ in range(3)), nn.Dropout(0.2), nn.Linear(8, 2))
    measured = measure_taps(backbone, (torch.zeros(1, 8),))
    listed, finer = ([tap.name for tap in taps] for taps in (listed_taps(measured), finer_taps(measured)))
    assert not [tap for tap in measured if isinstance(backbone.get_submodule(tap.name), nn.Dropout)]
    assert listed == ["0", "1", "2"]
    for count in range(1, 6):
        assert set(place_exits(measured, 6 * 64 + 16, count)) <= {*listed, *finer}
