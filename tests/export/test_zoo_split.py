"""Networks of unlike structure are cut into components that compute what the whole does, at any batch size."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import ArtefactError, UsageError
from eetool.export.split import ComponentModule, run_components, split_graph, trace_network
from eetool.model.branches import LINEAR, Branch, BranchSpec
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.scored_network import ScoredNetwork, exit_output_names, temperature_name

WIDTH = 8


class Text(nn.Module):
    """Ids and a mask; the mask is needed again in every block, and a table of positions is shared by all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, WIDTH)
        self.register_buffer("positions", torch.randn(1, 32, WIDTH))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True) for _ in range(3))
        self.classifier = nn.Linear(WIDTH, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x, hidden = self.embedding(ids), mask == 0
        for block in self.blocks:
            x = block(x + self.positions[:, : ids.shape[1]], src_key_padding_mask=hidden)
        return self.classifier(x[:, 0])


class Windows(nn.Module):
    """Attention within windows that every other block shifts; a block returns a tuple, as libraries' layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 2, stride=2)
        self.blocks = nn.ModuleList(_WindowBlock(shift=i % 2) for i in range(3))
        self.classifier = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
        for block in self.blocks:
            x, _ = block(x)
        return self.classifier(x.mean((1, 2)))


class _WindowBlock(nn.Module):
    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.register_buffer("mask", torch.zeros(4, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        n, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)  # to windows of 2×2 tokens
        q, k, v = self.qkv(y).view(-1, 4, 3, 2, c // 2).permute(2, 0, 3, 1, 4)  # three of (windows, heads, 4, d)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        y = y.transpose(1, 2).reshape(n, h // 2, w // 2, 2, 2, c).transpose(2, 3).reshape(n, h, w, c)
        return x + torch.roll(y, (self.shift, self.shift), (1, 2)), None


class TwoStreams(nn.Module):
    """Two tensors over every boundary, made by one operator and taken out of a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(_Exchange() for _ in range(3))
        self.classifier = nn.Linear(2 * WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        for block in self.blocks:
            left, right = block(left, right)
        return self.classifier(torch.cat((left, right), 1).mean((2, 3)))


class _Exchange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left + self.left(right).relu_(), right + self.right(left).relu_()


class Dense(nn.Module):
    """Every layer reads what all before it made, kept in a list and not in one tensor; layers work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3 + WIDTH * i, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True))
            for i in range(3)
        )
        self.classifier = nn.Linear(3 + 3 * WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for layer in self.layers:
            made.append(layer(torch.cat(made, 1)))
        return self.classifier(torch.cat(made, 1).mean((2, 3)))


class Sized(nn.Module):
    """A mask of the batch size alone, which no boundary need carry, and weights that two blocks share."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(nn.Identity() for _ in range(3))
        self.classifier = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.ones(5, 5).tril().bool()[None].expand(x.shape[0], -1, -1)
        for mark in self.blocks:
            weights = (x @ x.transpose(1, 2)).masked_fill(~keep, -1e4).softmax(2)
            x = mark(self.block(weights @ x))
        return self.classifier(x.mean(1))


def text_inputs(batch: int) -> tuple[Tensor, ...]:
    mask = (torch.arange(6) < torch.randint(1, 7, (batch, 1))).long()
    return torch.randint(0, 20, (batch, 6)), mask


def image(batch: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 3, 8, 8),)


def tokens(batch: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 5, WIDTH),)


Make = Callable[[int], tuple[Tensor, ...]]
ZOO: dict[str, tuple[type[nn.Module], Make, tuple[str, str], list[int]]] = {
    # Network, its inputs, its taps, and how many tensors leave each segment. Of two streams an exit reads one, so the
    # other waits in the next segment, with what it is made of.
    "text": (Text, text_inputs, ("blocks.0", "blocks.1"), [2, 1]),
    "windows": (Windows, image, ("blocks.0", "blocks.1"), [1, 1]),
    "two streams": (TwoStreams, image, ("blocks.0", "blocks.1"), [3, 2]),
    "dense": (Dense, image, ("layers.0", "layers.1"), [1, 1]),
    "sized": (Sized, tokens, ("blocks.0", "blocks.1"), [1, 1]),
}


def scored(network: nn.Module, inputs: tuple[Tensor, ...], taps: tuple[str, ...]) -> ScoredNetwork:
    with torch.no_grad(), capture_outputs(network.eval(), taps) as features:
        network(*inputs)
    heads = {tap: Branch(BranchSpec.parse(LINEAR), tuple(features[tap].shape), 4) for tap in taps}
    return ScoredNetwork(EarlyExitNet(network, heads)).eval()


def pieces_of(net: ScoredNetwork, inputs: tuple[Tensor, ...]) -> tuple[list[ComponentModule], list[str]]:
    temperatures = [torch.tensor(1.5)] * net.n_exits
    graph = trace_network(net, (*inputs, *temperatures), len(inputs))
    names = [f"in{i}" for i in range(len(inputs))] + [temperature_name(i) for i in range(net.n_exits)]
    return split_graph(graph, names, [exit_output_names(i) for i in range(net.n_exits)]), names


@pytest.mark.parametrize("name", ZOO)
def test_split_graph_zoo_network_components_compute_what_it_computes(name: str) -> None:
    make_network, make_inputs, taps, leaving = ZOO[name]
    torch.manual_seed(0)
    net = scored(make_network(), make_inputs(2), taps)
    pieces, names = pieces_of(net, make_inputs(2))
    assert [piece.name for piece in pieces] == ["seg0", "exit0", "seg1", "exit1", "exit2"]
    assert [len(piece.outputs) for piece in pieces if piece.kind == "segment"] == leaving
    for batch in (1, 2, 5):
        arguments = (*make_inputs(batch), *[torch.tensor(1.5)] * 3)
        with torch.no_grad():
            expected = net(*arguments)
        made = run_components(pieces, dict(zip(names, arguments, strict=True)))
        for output, reference in zip([n for i in range(3) for n in exit_output_names(i)], expected, strict=True):
            assert torch.allclose(made[output], reference, atol=1e-5), (name, batch, output)


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


@pytest.mark.parametrize(
    ("module", "place", "way_out"),
    [
        (Deciding(), r" in blocks\.1 \(Deciding\), test_zoo_split\.py:\d+:", "torch.where"),
        (FixedBatch(), r" in blocks\.1 \(FixedBatch\), test_zoo_split\.py:\d+:", "x.shape[0]"),
    ],
)
def test_trace_network_untraceable_zoo_network_names_the_module(module: nn.Module, place: str, way_out: str) -> None:
    backbone = nn.Sequential()
    backbone.add_module("blocks", nn.Sequential(nn.Linear(4, 4), module))
    net = ScoredNetwork(EarlyExitNet(backbone, {}))
    with pytest.raises(ArtefactError, match=f"cannot trace this network{place}") as caught:
        trace_network(net, (torch.randn(2, 4), torch.tensor(1.0)), 1)
    assert way_out in str(caught.value.hint)


def test_trace_network_invalid_tap_raises_usage_error() -> None:
    tanh = nn.Tanh()
    net = ScoredNetwork(EarlyExitNet(nn.Sequential(nn.Linear(4, 4), tanh, tanh), {"1": nn.Identity()}))
    with pytest.raises(UsageError, match="'1' runs more than once"):
        trace_network(net, (torch.randn(2, 4), torch.tensor(1.0), torch.tensor(1.0)), 1)
