"""Networks that are hard to split, each with early exits at taps and inputs of any batch size."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.export.split import ComponentModule, split_graph, trace_network
from eetool.model.early_exit import EarlyExitNet
from eetool.model.scored_network import ScoredNetwork, exit_output_names, temperature_name

CLASSES = 3
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """`inputs(n)` draws inputs at batch n."""

    net: ScoredNetwork
    inputs: Callable[[int], Inputs]

    def arguments(self, batch: int) -> Inputs:
        temperatures = {temperature_name(i): torch.tensor(0.5 + i) for i in range(self.net.n_exits)}
        return {**self.inputs(batch), **temperatures}

    @property
    def outputs(self) -> list[tuple[str, str]]:
        return [exit_output_names(i) for i in range(self.net.n_exits)]

    def cut(self) -> list[ComponentModule]:
        arguments = self.arguments(2)
        graph = trace_network(self.net, tuple(arguments.values()), len(self.inputs(2)))
        return split_graph(graph, list(arguments), self.outputs)

    def expected(self, arguments: Mapping[str, Tensor]) -> Inputs:
        """Return the outputs of the unsplit network by name."""
        with torch.no_grad():
            actual = self.net(*(x.clone() for x in arguments.values()))
        return dict(zip([name for pair in self.outputs for name in pair], actual, strict=True))


class Head(nn.Module):
    """Pools features, whatever their layout, and classifies them."""

    def __init__(self, width: int, pool: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.pool, self.linear = pool, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(x))


def over_pixels(x: Tensor) -> Tensor:
    return x.mean((2, 3))  # (N, C, H, W) -> (N, C)


def first_token(x: Tensor) -> Tensor:
    return x[:, 0]  # (N, T, D) -> (N, D)


def over_time(x: Tensor) -> Tensor:
    return x.mean(0)  # (T, N, D) -> (N, D)


def over_frames(x: Tensor) -> Tensor:
    return x.view(-1, 4, x.shape[1]).mean(1)  # (4 N, D) -> (N, D)


def image(n: int) -> Inputs:
    return {"image": torch.randn(n, 3, 8, 8)}


def vector(n: int) -> Inputs:
    return {"vector": torch.randn(n, 6)}


def sequence(n: int) -> Inputs:
    return {"sequence": torch.randn(n, 4, 6)}


def text(n: int) -> Inputs:
    return {"ids": torch.randint(0, 50, (n, 8)), "mask": (torch.rand(n, 8) < 0.8).long()}


class Residual(nn.Module):
    """The tap lies inside a residual block: its features and the shortcut cross together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tap, self.late = (nn.Conv2d(width, 8, 3, padding=1) for width in (3, 8, 8))
        self.out = Head(8, over_pixels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        return self.out(functional.relu(self.late(self.tap(x)) + x))


class Dense(nn.Module):
    """Every layer reads all layers before it, and the model's input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.out = Head(3 + 4 * 4, over_pixels)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, functional.relu(layer(x))], 1)
        return self.out(x)


class KeptApart(nn.Module):
    """As Dense, but the tensors are kept in a list, so that each of them crosses every boundary on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.out = Head(3 + 4 * 4, over_pixels)

    def forward(self, x: Tensor) -> Tensor:
        produced = [x]
        for layer in self.layers:
            produced.append(functional.relu(layer(torch.cat(produced, 1))))
        return self.out(torch.cat(produced, 1))


class Chunked(nn.Module):
    """One half of a split goes on to the tap, the other half waits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tap = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.out = Head(8, over_pixels)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        return self.out(torch.cat([self.tap(left).relu(), right], 1))


class Recurring(nn.Module):
    """The same weights and the same buffer are used before the tap and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.cell, self.tap = nn.Linear(6, 8), nn.Linear(8, 8), nn.ReLU()
        self.register_buffer("position", torch.randn(8))
        self.out = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.cell(self.stem(x) + self.position))
        return self.out(torch.tanh(self.cell(self.tap(x) + self.position)))


class FromInput(nn.Module):
    """The first tap is the input itself, and the tail reads the input again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Identity(), nn.Linear(6, 8)
        self.out = Head(14)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.second(self.first(x)).relu(), x], 1))


class InPlace(nn.Module):
    """Works in place on what a tap has returned, and on a slice of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tap, self.relu, self.late = nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3)
        self.out = Head(8, over_pixels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.late(self.relu(self.tap(x)))
        x[:, 0] = 0
        return self.out(x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.qkv, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (
            part.view(n, t, self.heads, d // self.heads).transpose(1, 2)  # (N, T, D) -> (N, heads, T, D / heads)
            for part in self.qkv(self.before(x)).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.mix(mixed.transpose(1, 2).reshape(n, t, d))  # (N, heads, T, D / heads) -> (N, T, D)
        return x + self.mlp(x)


class TextEncoder(nn.Module):
    """Ids and a padding mask, a class token, positions; the mask becomes 0 and −∞, which every block reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 9, 16))
        self.blocks = nn.ModuleList(_Block(16, 2) for _ in range(2))
        self.out = Head(16, first_token)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        n = ids.shape[0]
        x = torch.cat([self.token.expand(n, -1, -1), self.embedding(ids)], 1) + self.positions
        seen = torch.cat([torch.ones(n, 1, dtype=torch.bool), mask.bool()], 1)  # (N, T) -> (N, 1 + T)
        bias = torch.zeros(n, 1, 1, 9).masked_fill(~seen[:, None, None], float("-inf"))
        for block in self.blocks:
            x = block(x, bias)
        return self.out(x)


class TimeFirst(nn.Module):
    """torch's own encoder layers in their default layout, where the batch is the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 16)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32) for _ in range(2))
        self.out = Head(16, over_time)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).transpose(0, 1)  # (N, T, D) -> (T, N, D)
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


class Frames(nn.Module):
    """Every frame goes through alone, so that time is folded into the batch; the tail needs the batch size itself."""

    def __init__(self) -> None:
        super().__init__()
        self.tap, self.late, self.out = nn.Linear(6, 8), nn.Linear(8, 8), Head(8)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        x = self.late(self.tap(x.reshape(n * t, d)).relu())  # (N, T, D) -> (N T, D)
        return self.out(x.view(n, t, 8).mean(1))  # (N T, D) -> (N, T, D) -> (N, D)


class Recurrent(nn.Module):
    """Layers that return several tensors, one of which skips the tap."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.tap = nn.LSTM(6, 8, batch_first=True), nn.LayerNorm(8)
        self.second, self.out = nn.GRU(8, 8, batch_first=True), Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x, (hidden, _) = self.first(x)
        x, _ = self.second(self.tap(x))
        return self.out(x[:, -1] + hidden[0])


class Constants(nn.Module):
    """Numbers that no input decides, made in the forward pass without gradients and used on both sides of the tap."""

    def __init__(self) -> None:
        super().__init__()
        self.tap, self.late, self.out = nn.Linear(6, 8), nn.Linear(8, 8), Head(8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            waves = torch.arange(8).float().cos()
            rows = torch.arange(x.shape[0])[:, None] * 0.1  # depends on the batch size and on nothing else
        return self.out(self.late(self.tap(x) + waves) * waves + rows)


class Deep(nn.Module):
    """More layers than Python's stack has frames."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.99))
        self.before, self.tap, self.out = nn.Linear(6, 8), nn.Tanh(), Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        for _ in range(sys.getrecursionlimit() + 50):
            x = x * self.scale
        return self.out(self.tap(x).relu())


BUILDERS: dict[str, Callable[[], tuple[nn.Module, dict[str, nn.Module], Callable[[int], Inputs]]]] = {
    "residual": lambda: (Residual(), {"tap": Head(8, over_pixels)}, image),
    "dense": lambda: (Dense(), {"layers.1": Head(4, over_pixels), "layers.2": Head(4, over_pixels)}, image),
    "kept apart": lambda: (KeptApart(), {"layers.1": Head(4, over_pixels), "layers.2": Head(4, over_pixels)}, image),
    "chunked": lambda: (Chunked(), {"tap": Head(4, over_pixels)}, image),
    "recurring": lambda: (Recurring(), {"tap": Head(8)}, vector),
    "from input": lambda: (FromInput(), {"first": Head(6), "second": Head(8)}, vector),
    "in place": lambda: (InPlace(), {"tap": Head(8, over_pixels)}, image),
    "text": lambda: (TextEncoder(), {"blocks.0": Head(16, first_token)}, text),
    "time first": lambda: (TimeFirst(), {"layers.0": Head(16, over_time)}, sequence),
    "frames": lambda: (Frames(), {"tap": Head(8, over_frames)}, sequence),
    "recurrent": lambda: (Recurrent(), {"tap": Head(8, first_token)}, sequence),
    "constants": lambda: (Constants(), {"tap": Head(8)}, vector),
    "deep": lambda: (Deep(), {"tap": Head(8)}, vector),
    "no exits": lambda: (Residual(), {}, image),
}


def build(name: str) -> Case:
    torch.manual_seed(0)
    backbone, heads, inputs = BUILDERS[name]()
    return Case(ScoredNetwork(EarlyExitNet(backbone, heads)).eval(), inputs)
