"""Small vision transformers with a class token (Dosovitskiy et al., arXiv 2010.11929; sizes of arXiv 2012.12877)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZES = {"tiny": (192, 3), "small": (384, 6)}  # width and heads, of DeiT-Ti and DeiT-S
_DEPTH = 12
_HIDDEN = 4


class Vit(nn.Module):
    """Vision transformer of 12 pre-norm blocks on patches and a class token, which is classified."""

    def __init__(self, size: str, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        width, heads = SIZES[size]
        patch = patch_size(shape)
        self.patches = nn.Conv2d(shape[1], width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + (shape[2] // patch) * (shape[3] // patch), width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(_DEPTH)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        for weights in (self.class_token, self.positions):
            nn.init.trunc_normal_(weights, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.patches(x).flatten(2).transpose(1, 2)  # (N, C, H, W) -> (N, D, h, w) -> (N, D, T) -> (N, T, D)
        token = self.class_token.expand(x.shape[0], -1, -1)
        x = self.blocks(torch.cat((token, x), 1) + self.positions)
        logits: Tensor = self.classifier(self.norm(x[:, 0]))  # (N, 1 + T, D) -> (N, D) -> (N, classes)
        return logits


def patch_size(shape: tuple[int, ...]) -> int:
    """Return the side of a patch in pixels: 16 as in the paper, or 4 on images of less than 128 pixels."""
    return 16 if min(shape[2:]) >= 128 else 4


class Block(nn.Module):
    """Attention and a hidden layer, each with a normalisation in front and a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, _HIDDEN * width)
        self.output = nn.Linear(_HIDDEN * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens (N, T, D) to (N, T, D); `mask` (N, 1, 1, T) is added to the attention scores."""
        x = x + self._attend(self.norm1(x), mask)
        y: Tensor = x + self.output(functional.gelu(self.hidden(self.norm2(x))))
        return y

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.queries_keys_values(x).unflatten(2, (3, self.heads, -1))  # (N, T, 3D) -> (N, T, 3, heads, d)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # three of (N, heads, T, d)
        mixed = functional.scaled_dot_product_attention(q, k, v, mask)
        joined: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))  # (N, heads, T, d) -> (N, T, D)
        return joined
