"""MACs by hand and by the literature; exits where they divide the work."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.backbones.registry import build_backbone
from eetool.model.macs import count_macs, count_parameters
from eetool.model.taps import TapCost, listed_taps, measure_taps, order_taps, place_exits

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
    ("name", "shape", "mega_macs", "mega_parameters"),
    # Multiply-accumulates of convolutions, products of matrices and attention; 1000 classes at 224×224, else 10.
    [
        # Parameters of He et al., arXiv 1512.03385, table 6; MACs of HRank, arXiv 2002.10179, for the last two and for
        # VGG-16, and counted by hand from the table of layers for the first.
        ("resnet20", (3, 32, 32), 40.55, 0.27),
        ("resnet56", (3, 32, 32), 125.49, 0.85),
        ("resnet110", (3, 32, 32), 252.89, 1.7),
        ("vgg16", (3, 32, 32), 313.2, 14.7),
        # Huang et al., arXiv 1608.06993: parameters of table 2; MACs of HRank for the first. The second counts 2.83 G
        # where the authors' own count of 2.87 G has normalisations in it.
        ("densenet40", (3, 32, 32), 265, 1.0),
        ("densenet100-bc", (3, 32, 32), 288, 0.77),
        ("densenet121", (3, 224, 224), 2834, 7.98),
        # Sandler et al., arXiv 1801.04381, table 4; Howard et al., arXiv 1905.02244, table 3.
        ("mobilenetv2", (3, 224, 224), 300, 3.5),
        ("mobilenetv3-small", (3, 224, 224), 56, 2.54),
        ("mobilenetv3-large", (3, 224, 224), 217, 5.48),
        # Touvron et al., arXiv 2012.12877, table 1 (parameters); 1.26 G MACs as counted by timm for the same network.
        ("vit-tiny", (3, 224, 224), 1254, 5.7),
    ],
)
def test_backbones_have_their_published_size(
    name: str, shape: tuple[int, ...], mega_macs: float, mega_parameters: float
) -> None:
    backbone = build_backbone(name, (1, *shape), 1000 if shape[1] == 224 else 10).eval()
    assert count_macs(backbone, (torch.zeros(1, *shape),)) / 1e6 == pytest.approx(mega_macs, rel=0.01)
    assert count_parameters(backbone) / 1e6 == pytest.approx(mega_parameters, rel=0.025)


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
    assert listed_taps(measure_taps(Stacked(), VECTOR)) == [
        TapCost("early.0", (1, 8), 4 * 8, 4 * 8 + 8),
        TapCost("early.1", (1, 8), 4 * 8 + 8 * 8, 4 * 8 + 8 + 8 * 8 + 8),
        TapCost("late.0", (1, 8), 4 * 8 + 2 * 8 * 8, 4 * 8 + 8 + 2 * (8 * 8 + 8)),
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
    taps = measure_taps(nn.Sequential(nn.Sequential(block), nn.Sequential(block)), VECTOR)
    assert [tap.name for tap in taps] == ["0"], "the stack around its first run is one"


class Residual(nn.Module):
    """A block whose inside is no place to cut."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.side = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.side(x)  # is thrown away
        return x + self.layers(x)


def test_what_crosses_a_cut_is_counted() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Residual(), Residual(), nn.Linear(4, 3))
    crossing = {tap.name: tap.crossing for tap in measure_taps(net, VECTOR)}
    assert crossing == {
        **dict.fromkeys(("0", "1", "2"), 1),
        **{f"{block}.layers.{i}": 2 for block in (1, 2) for i in range(3)},
        **{f"{block}.layers": 2 for block in (1, 2)},
    }


def test_exits_stay_out_of_residual_branches_while_there_are_other_places() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Residual(), Residual(), nn.Linear(4, 3))
    taps = measure_taps(net, VECTOR)
    assert place_exits(taps, count_macs(net, VECTOR), 2) == ("1", "2")
    assert [tap.name for tap in listed_taps(taps)] == ["0", "1", "2"]


def test_a_mask_made_of_inputs_alone_crosses_no_cut() -> None:
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


def test_a_tensor_that_is_overwritten_afterwards_is_no_tap() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    assert [tap.name for tap in measure_taps(net, VECTOR)] == ["1"]


def test_finer_places_are_taken_where_blocks_are_too_coarse() -> None:
    taps = [
        TapCost("inner.0", (1, 4), 20, 0, level=1),
        TapCost("inner.1", (1, 4), 50, 0, level=1),
        TapCost("outer", (1, 4), 90, 0),
    ]
    assert place_exits(taps, 100, 1) == ("inner.1",)


def test_several_tensors_cross_where_there_is_no_other_way() -> None:
    taps = [TapCost("two.0", (1, 4), 50, 0, crossing=2), TapCost("one", (1, 4), 95, 0)]
    assert place_exits(taps, 100, 1) == ("two.0",)


def test_attention_counts_both_products() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens, width, hidden = 5, 8, 16
    linear = tokens * (3 * width * width + width * width + 2 * width * hidden)
    assert count_macs(layer, (torch.zeros(1, tokens, width),)) == linear + 2 * tokens * tokens * width


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_count_every_step(layer: type[nn.RNNBase], gates: int) -> None:
    steps, width, hidden = 7, 5, 6
    macs = count_macs(layer(width, hidden).eval(), (torch.zeros(steps, 1, width),))
    assert macs == steps * gates * (width * hidden + hidden * hidden)


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


def taps_after(macs: list[int]) -> list[TapCost]:
    return [TapCost(f"block{i}", (1, 4), m, 0) for i, m in enumerate(macs)]


@given(st.sets(st.integers(0, 999), min_size=1, max_size=30).map(sorted), st.data())
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
