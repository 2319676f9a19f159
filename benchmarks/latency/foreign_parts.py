"""Blocks of published architectures, see `foreign_networks.py`. Shapes: images (N, C, H, W), sequences (N, T, D)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvAct(nn.Sequential):
    """Convolution, batch normalisation and activation."""

    def __init__(
        self,
        channels: int,
        out: int,
        window: int,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        layers = [nn.Conv2d(channels, out, window, stride, window // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]
        super().__init__(*layers, *(() if act is None else (act(),)))


class GatedChannels(nn.Module):
    """Squeeze and excitation (arXiv 1709.01507)."""

    def __init__(self, channels: int, reduction: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        inner = max(8, channels // reduction)
        self.squeeze, self.excite, self.gate = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times a factor per channel."""
        row = functional.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        gated: Tensor = x * self.gate(self.excite(row))
        return gated


class InvertedBottleneck(nn.Module):
    """Inverted bottleneck (arXiv 1801.04381), with gated channels where asked for."""

    def __init__(
        self, channels: int, out: int, expansion: int, stride: int, window: int, act: type[nn.Module], gate: bool
    ) -> None:
        super().__init__()
        wide = channels * expansion
        layers: list[nn.Module] = [ConvAct(channels, wide, 1, act=act)] if expansion > 1 else []
        layers.append(ConvAct(wide, wide, window, stride, wide, act))
        layers += [GatedChannels(wide, 4, nn.Hardsigmoid)] if gate else []
        self.layers = nn.Sequential(*layers, ConvAct(wide, out, 1, act=None))
        self.added = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H / stride, W / stride)."""
        result: Tensor = self.layers(x)
        return x + result if self.added else result


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut (arXiv 1512.03385)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(ConvAct(channels, out, 3, stride), ConvAct(out, out, 3, act=None))
        plain = stride == 1 and channels == out
        self.shortcut = nn.Identity() if plain else ConvAct(channels, out, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H / stride, W / stride)."""
        return functional.relu(self.layers(x) + self.shortcut(x))


class RegNetBlock(nn.Module):
    """Bottleneck with a grouped convolution, gated where asked for (arXiv 2003.13678)."""

    def __init__(self, channels: int, out: int, stride: int, groups: int, gate: bool) -> None:
        super().__init__()
        middle = [ConvAct(channels, out, 1), ConvAct(out, out, 3, stride, groups)]
        gates = [GatedChannels(out, 4)] if gate else []
        self.layers = nn.Sequential(*middle, *gates, ConvAct(out, out, 1, act=None))
        plain = stride == 1 and channels == out
        self.shortcut = nn.Identity() if plain else ConvAct(channels, out, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H / stride, W / stride)."""
        return functional.relu(self.layers(x) + self.shortcut(x))


class PreActivationBlock(nn.Module):
    """Bottleneck with group normalisation before each convolution (arXiv 1912.11370)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        inner = out // 4
        self.norm1, self.conv1 = nn.GroupNorm(16, channels), nn.Conv2d(channels, inner, 1)
        self.norm2, self.conv2 = nn.GroupNorm(8, inner), nn.Conv2d(inner, inner, 3, stride, 1)
        self.norm3, self.conv3 = nn.GroupNorm(8, inner), nn.Conv2d(inner, out, 1)
        self.shortcut = nn.Conv2d(channels, out, 1, stride) if stride > 1 or channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H / stride, W / stride)."""
        first = functional.relu(self.norm1(x))
        result = self.conv2(functional.relu(self.norm2(self.conv1(first))))
        total: Tensor = self.conv3(functional.relu(self.norm3(result)))
        return total + (x if self.shortcut is None else self.shortcut(first))


class ConvNeXtBlock(nn.Module):
    """Depthwise 7×7, layer normalisation over channels, and a feed-forward network (arXiv 2201.03545)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # (N, H, W, C)
        inner = self.scale * self.narrow(functional.gelu(self.widen(inner)))
        return x + inner.permute(0, 3, 1, 2)


class PoolFormerBlock(nn.Module):
    """Average pooling as a mixer, and a feed-forward network of 1×1 convolutions (arXiv 2111.11418)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.widen, self.narrow = nn.Conv2d(dim, 4 * dim, 1), nn.Conv2d(4 * dim, dim, 1)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((dim, 1, 1), 1e-2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        inner = self.norm1(x)
        x = x + self.scale1 * (self.pool(inner) - inner)
        return x + self.scale2 * self.narrow(functional.gelu(self.widen(self.norm2(x))))


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward network, each after layer normalisation (arXiv 2010.11929)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a sequence of the same shape."""
        rows, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(rows, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, D / heads) each
        weights = ((q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5).softmax(dim=-1)
        x = x + self.project((weights @ v).transpose(1, 2).reshape(rows, tokens, width))
        return x + self.narrow(functional.gelu(self.widen(self.norm2(x))))


class MixerBlock(nn.Module):
    """Feed-forward networks over tokens, then over channels (arXiv 2105.01601)."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.within = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return a sequence of the same shape."""
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        result: Tensor = x + self.within(self.norm2(x))
        return result


class ShuffleBlock(nn.Module):
    """Half of the channels pass, the others are convolved; then channels are shuffled (arXiv 1807.11164)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        half, self.stride = out // 2, stride
        of = channels if stride > 1 else half
        depthwise = ConvAct(half, half, 3, stride, half, None)
        self.convolved = nn.Sequential(ConvAct(of, half, 1), depthwise, ConvAct(half, half, 1))
        self.passed = nn.Sequential(ConvAct(of, of, 3, stride, of, None), ConvAct(of, half, 1)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H / stride, W / stride)."""
        if self.passed is not None:
            parts = self.passed(x), self.convolved(x)
        else:
            first, second = x.chunk(2, dim=1)
            parts = first, self.convolved(second)
        joined = torch.cat(parts, dim=1)
        n, c, h, w = joined.shape
        return joined.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Ghost(nn.Module):
    """Convolution whose second half of channels is a depthwise convolution of the first (arXiv 1911.11907)."""

    def __init__(self, channels: int, out: int, act: type[nn.Module] | None) -> None:
        super().__init__()
        self.primary = ConvAct(channels, out // 2, 1, act=act)
        self.cheap = ConvAct(out // 2, out // 2, 3, 1, out // 2, act)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H, W)."""
        first = self.primary(x)
        return torch.cat((first, self.cheap(first)), dim=1)


class GhostBlock(nn.Module):
    """Bottleneck of two ghost convolutions."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        wide = 4 * channels
        between = [ConvAct(wide, wide, 3, stride, wide, None)] if stride > 1 else []
        self.layers = nn.Sequential(Ghost(channels, wide, nn.ReLU), *between, Ghost(wide, out, None))
        plain = stride == 1 and channels == out
        self.shortcut = nn.Identity() if plain else ConvAct(channels, out, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H / stride, W / stride)."""
        result: Tensor = self.layers(x) + self.shortcut(x)
        return result


def classifier(channels: int, classes: int) -> nn.Module:
    """Return global average pooling and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
