"""Networks for 1×8×8 images whose answers depend on more than their input, and sound ones that look alike."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, WIDTH = 10, 8

Layer = Callable[[int], nn.Module]


class Small(nn.Module):
    """Two convolutions, a block in the middle, and a classifier whose logits go through `last`."""

    def __init__(self, middle: nn.Module | None = None, norm: Layer = nn.BatchNorm2d) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, WIDTH, 3, padding=1), norm(WIDTH), nn.ReLU()),
            middle or nn.Identity(),
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(self.stages(x).mean((2, 3))))

    def last(self, z: Tensor) -> Tensor:
        return z


class Alternating(nn.Module):
    """Block that computes otherwise in every second call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + self.calls % 2)


class Apply(nn.Module):
    """Block of one function of features (N, C, H, W)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class LogSoftmaxOverRows(Small):
    def last(self, z: Tensor) -> Tensor:
        return functional.log_softmax(z, 0)


def log_softmax_over_rows() -> nn.Module:
    """Return a factory's network, as a user names it."""
    return LogSoftmaxOverRows()


def batch_statistics() -> nn.Module:
    return Small(norm=lambda width: nn.BatchNorm2d(width, track_running_stats=False))


def noisy() -> nn.Module:
    return Small(Apply(functional.dropout))


def antialiased() -> nn.Module:
    """Return a network whose resizing ONNX defines otherwise than torch."""
    return Small(
        Apply(lambda x: functional.interpolate(x, scale_factor=0.6, mode="bilinear", antialias=True))  # 8×8 -> 4×4
    )


def bessel() -> nn.Module:
    """Return a network with an operator that no converter knows."""
    return Small(Apply(torch.special.bessel_j0))


class ForcedTraining(nn.BatchNorm2d):
    """Batch normalisation that stays in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        self.train()
        return super().forward(x)


class ClosedGate(nn.Module):
    """A residual branch that mixes rows behind a gain that begins at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * (x - x.mean(0))


class Attention(nn.Module):
    """Attention over the pixels of an image, or by mistake over the images of a batch."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (N, C, H, W) -> (N, T, C)
        return (tokens + self.attention(tokens, tokens, tokens)[0]).transpose(1, 2).reshape(x.shape)


class Experts(nn.Module):
    """One expert per image; with a capacity, an expert takes only so many images of a batch."""

    def __init__(self, capacity: int | None) -> None:
        super().__init__()
        self.router, self.capacity = nn.Linear(WIDTH, 2), capacity
        self.experts = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.router(x.mean((2, 3))).argmax(1)
        for i, expert in enumerate(self.experts):
            mine = chosen == i
            if self.capacity is not None:
                mine = mine & (mine.long().cumsum(0) <= self.capacity)
            x = x + expert(x) * mine[:, None, None, None]
        return x


class Memory(nn.Module):
    """Adds the mean of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(1, WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        result = x + self.before
        self.before = x.mean((0, 2, 3), keepdim=True)
        return result


class Trimmed(nn.Module):
    """A text network that cuts to the longest text of the batch, and averages what is left."""

    def __init__(self, over_all: bool) -> None:
        super().__init__()
        self.embedding, self.body = nn.Embedding(20, WIDTH), nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.head, self.over_all = nn.Linear(WIDTH, CLASSES), over_all

    def forward(self, ids: Tensor) -> Tensor:
        used = (ids != 0).unsqueeze(-1)  # (N, T, 1)
        x = self.body(self.embedding(ids))
        if not self.over_all:
            longest = int((ids != 0).sum(1).max())
            return self.head(x[:, :longest].mean(1))
        return self.head((x * used).sum(1) / used.sum(1).clamp(min=1))


def fold_group_norm(x: Tensor) -> Tensor:
    """Normalise each channel of the whole batch: the batch is folded into the groups."""
    n, c, h, w = x.shape
    folded = functional.group_norm(x.transpose(0, 1).reshape(1, c * n, h, w), c)
    return folded.reshape(c, n, h, w).transpose(0, 1)


MIXING: dict[str, tuple[Callable[[], nn.Module], str]] = {  # network, and where its rows begin to mix
    "log_softmax(x, 0)": (log_softmax_over_rows, "log_softmax in the network's own forward (LogSoftmaxOverRows), "),
    "BatchNorm without running statistics": (batch_statistics, "native_batch_norm in stages.0.1 (BatchNorm2d), "),
    "BatchNorm in training mode": (
        lambda: Small(norm=ForcedTraining),
        "native_batch_norm in stages.0.1 (ForcedTraining), ",
    ),
    "z / z.norm()": (lambda: Small(Apply(lambda x: x / x.norm())), "linalg_vector_norm in stages.1 (Apply), "),
    "x - x.mean(0)": (lambda: Small(Apply(lambda x: x - x.mean(0))), "mean in stages.1 (Apply), "),
    "x - 1e-6 * x.mean(0)": (lambda: Small(Apply(lambda x: x - 1e-6 * x.mean(0))), "mean in stages.1 (Apply), "),
    "large and nearly equal": (
        lambda: Small(Apply(lambda x: 1e4 + 1e-4 * x.cumsum(0))),
        "cumsum in stages.1 (Apply), ",
    ),
    "sort over rows": (lambda: Small(Apply(lambda x: x.sort(0)[0])), "sort in stages.1 (Apply), "),
    "GroupNorm over a folded batch": (lambda: Small(Apply(fold_group_norm)), "native_group_norm in stages.1 (Apply), "),
    "view that mixes rows": (
        lambda: Small(Apply(lambda x: x.transpose(0, 1).reshape(x.shape))),
        "view in stages.1 (Apply), ",
    ),
    "another path at batch 1": (
        lambda: Small(Apply(lambda x: x if len(x) == 1 else 2 * x)),
        "mul in stages.1 (Apply), ",
    ),
    "attention over the batch": (lambda: Small(Attention(False)), "bmm in stages.1.attention (MultiheadAttention), "),
    "a gate that begins at zero": (lambda: Small(ClosedGate()), "mean in stages.1 (ClosedGate), "),
    "experts of a capacity": (lambda: Small(Experts(2)), "mul in stages.1 (Experts), "),
    "bfloat16 inside": (
        lambda: Small(Apply(lambda x: (x - x.mean(0)).bfloat16().float())),
        "mean in stages.1 (Apply), ",
    ),
    "float32 inside": (lambda: Small(Apply(lambda x: (x - x.mean(0)).float().to(x))), "mean in stages.1 (Apply), "),
}
CHANGING: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dropout": (noisy, "bernoulli in stages.1 (Apply), "),
    "noise": (lambda: Small(Apply(lambda x: x + 0.01 * torch.randn_like(x))), "randn_like in stages.1 (Apply), "),
    "memory": (lambda: Small(Memory()), "add in stages.1 (Memory), "),
    "every second call": (lambda: Small(Alternating()), "mul in stages.1 (Alternating), "),
}
SOUND: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm": Small,
    "InstanceNorm": lambda: Small(norm=nn.InstanceNorm2d),
    "GroupNorm": lambda: Small(norm=lambda width: nn.GroupNorm(2, width)),
    "dropout in training": lambda: Small(nn.Dropout(0.5)),
    "attention over pixels": lambda: Small(Attention(True)),
    "experts without a capacity": lambda: Small(Experts(None)),
    "float32 inside": lambda: Small(Apply(lambda x: (x * 1e4).float().to(x))),
    "bfloat16 inside": lambda: Small(
        Apply(lambda x: (x.flatten(2).bfloat16() @ torch.eye(64).bfloat16()).view(x.shape).float())
    ),
    "large and nearly equal": lambda: Small(Apply(lambda x: 1e4 + 1e-4 * x)),
    "rounded": lambda: Small(Apply(lambda x: (16 * x).round() / 16)),
    "masked by infinity": lambda: Small(Apply(lambda x: x.masked_fill(x < 0.1, -torch.inf).softmax(1))),
    "constant": lambda: Small(Apply(lambda x: 0 * x)),
}
