"""A vision transformer small enough for a Raspberry Pi: 64 patches of 4 x 4 pixels and a class token, four blocks."""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

WIDTH, HEADS, DEPTH, PATCH = 48, 3, 4, 4


class Block(nn.Module):
    """Attention and two linear layers, each after a norm and with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, tokens, WIDTH) for `x` of the same shape."""
        y = self.norm1(x)
        q, k, v = (layer(y).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        x = x + self.mix(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.narrow(gelu(self.wide(self.norm2(x))))


class SmallViT(nn.Module):
    """Vision transformer with a class token, which exits with --branch cls read as well."""

    def __init__(self, channels: int = 1, side: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + (side // PATCH) ** 2, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for `x` (N, channels, side, side)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)  # (N, WIDTH, h, w) -> (N, h w, WIDTH)
        tokens = torch.cat((self.token.expand(x.shape[0], -1, -1), patches), 1) + self.places
        return self.head(self.norm(self.blocks(tokens)[:, 0]))


def make() -> nn.Module:
    """Return the network of the reference `small_vit:make`."""
    torch.manual_seed(0)
    return SmallViT()
