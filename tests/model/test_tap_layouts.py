"""Layouts of features, found by what a network does with them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import UsageError
from eetool.model.tap_layouts import FoundLayout, choose_layouts, find_layouts


class Steps(nn.Module):
    """Modules `a`, `b`, `c`, … and a forward pass that is written as a function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        for name, module in zip("abcdefgh", modules, strict=False):
            self.add_module(name, module)
        self.steps = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x, *self.children())


def layouts_of(net: nn.Module, *shape: int) -> dict[str, str | None]:
    return {name: found.layout for name, found in find_layouts(net, (torch.rand(1, *shape),)).items()}


def split_heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (2, -1)).transpose(-3, -2)


def windows(x: Tensor) -> Tensor:
    """(N, H, W, C) to windows of 2×2 in the batch, (N H W / 4, 4, C), as in Swin."""
    n, h, w, c = x.shape
    return x.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)


def unwindowed(x: Tensor, h: int, w: int) -> Tensor:
    return x.view(-1, h // 2, w // 2, 2, 2, x.shape[-1]).transpose(2, 3).reshape(-1, h, w, x.shape[-1])


def convolution(rank: int) -> nn.Module:
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](8, 8, 3, padding=1)


def identity() -> nn.Module:
    return nn.Identity()


# A network, the shape of its input, and layouts of some of its modules. Channels are as many as positions on purpose.
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, str | None]]] = {
    "conv1d": (lambda: nn.Sequential(convolution(1), nn.ReLU(), nn.Dropout()), (8, 8), dict.fromkeys("012", "NCL")),
    "conv2d as many channels as rows": (lambda: nn.Sequential(convolution(2)), (8, 8, 12), {"0": "NCHW"}),
    "conv2d as many channels as columns": (lambda: nn.Sequential(convolution(2)), (8, 12, 8), {"0": "NCHW"}),
    "conv3d": (lambda: nn.Sequential(convolution(3), nn.ReLU()), (8, 8, 8, 8), dict.fromkeys("01", "NCDHW")),
    "two channels in a batch of two": (lambda: nn.Sequential(nn.Conv1d(2, 2, 3)), (2, 9), {"0": "NCL"}),
    "one channel": (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 9, 9), {"0": "NCHW"}),
    "linear on pixels": (lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU()), (8, 12, 8), dict.fromkeys("01", "NHWC")),
    "norm on pixels": (lambda: nn.Sequential(nn.LayerNorm(8), nn.GELU()), (12, 8, 8), dict.fromkeys("01", "NHWC")),
    "volumes of pixels": (lambda: nn.Sequential(nn.Linear(8, 8)), (8, 8, 8, 8), {"0": "NDHWC"}),
    "found backwards": (lambda: nn.Sequential(identity(), nn.Tanh(), convolution(2)), (8, 8, 12), {"0": "NCHW"}),
    "found behind the tap": (
        lambda: Steps(lambda x, a, b, c: c(b(a(x).permute(0, 2, 1))), identity(), nn.ReLU(), convolution(1)),
        (8, 8),
        {"a": "NLC", "b": "NCL"},
    ),
    "pooling alone": (lambda: nn.Sequential(identity(), nn.MaxPool2d(2)), (8, 8, 12), dict.fromkeys("01", "NCHW")),
    "pooling over time": (lambda: nn.Sequential(identity(), nn.AvgPool1d(2)), (8, 8), dict.fromkeys("01", "NCL")),
    "norm over time": (lambda: nn.Sequential(convolution(1), nn.LayerNorm(8)), (8, 8), dict.fromkeys("01", "NCL")),
    "group norm": (lambda: nn.Sequential(nn.GroupNorm(2, 8), nn.SiLU()), (8, 8, 12), dict.fromkeys("01", "NCHW")),
    "pixel shuffle": (lambda: nn.Sequential(nn.PixelShuffle(2), nn.ReLU()), (8, 8, 2), dict.fromkeys("01", "NCHW")),
    "resized": (lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU()), (8, 8, 4), {"1": "NCHW"}),
    "residual sum": (
        lambda: Steps(lambda x, a, b: a(x) + b(x), identity(), convolution(2)),
        (8, 8, 12),
        {"a": "NCHW", "b": "NCHW"},
    ),
    "dense": (
        lambda: Steps(lambda x, a, b: b(torch.cat([x, a(x)], 1)), identity(), nn.Conv2d(16, 8, 3)),
        (8, 8, 12),
        {"a": "NCHW"},
    ),
    "convnext block": (
        lambda: Steps(
            lambda x, a, b, c, d: x + d(c(b(a(x).permute(0, 2, 3, 1)))).permute(0, 3, 1, 2),
            *(nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)),
        ),
        (8, 8, 12),
        {"a": "NCHW", "b": "NHWC", "c": "NHWC", "d": "NHWC"},
    ),
    "swin block": (
        lambda: Steps(
            lambda x, a, b, c: c(x + unwindowed(b(windows(a(x))), 8, 12)), *(identity(), nn.Linear(8, 8), identity())
        ),
        (8, 12, 8),
        {"a": "NHWC", "b": None, "c": "NHWC"},
    ),
    "attention": (
        lambda: Steps(
            lambda x, a, b, c: c(functional.scaled_dot_product_attention(*[split_heads(a(x))] * 3)[:, 0]),
            *(identity(), identity(), nn.Linear(4, 3)),
        ),
        (8, 8),
        {"a": None, "c": "NLC"},  # rows and features of attention, and no weights before
    ),
    "vision transformer": (
        lambda: Steps(
            lambda x, a, b: b(a(x).flatten(2).transpose(1, 2)),
            *(nn.Conv2d(3, 16, 2, 2), nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)),
        ),
        (3, 8, 8),
        {"a": "NCHW", "b": "NLC", "b.norm1": "NLC", "b.linear1": "NLC"},
    ),
    "transformer with time first": (
        lambda: Steps(lambda x, a: a(x.transpose(0, 1)), nn.TransformerEncoderLayer(8, 2, 8)),
        (8, 8),
        {"a": "LNC", "a.norm1": "LNC", "a.linear1": "LNC"},
    ),
    "lstm": (lambda: Steps(lambda x, a: a(x)[0], nn.LSTM(8, 8, batch_first=True)), (8, 8), {"a": "NLC"}),
    "lstm with time first": (lambda: Steps(lambda x, a: a(x.transpose(0, 1))[0], nn.LSTM(8, 8)), (8, 8), {"a": "LNC"}),
    "gru": (lambda: Steps(lambda x, a: a(x)[0], nn.GRU(8, 8, batch_first=True)), (8, 8), {"a": "NLC"}),
    "gru of two directions": (
        lambda: Steps(lambda x, a: a(x.transpose(0, 1))[0], nn.GRU(8, 8, bidirectional=True)),
        (8, 8),
        {"a": "LNC"},
    ),
    "convolutions, then lstm": (
        lambda: Steps(
            lambda x, a, b, c: c(b(a(x).permute(0, 3, 1, 2).flatten(2)))[0],
            *(nn.Conv2d(2, 4, 3, padding=1), identity(), nn.LSTM(32, 8, batch_first=True)),
        ),
        (2, 8, 32),
        {"a": "NCHW", "b": "NLC", "c": "NLC"},
    ),
    "mixer": (
        lambda: Steps(
            lambda x, a, b, c, d: d(c((y := a(x)) + b(y.transpose(1, 2)).transpose(1, 2))).mean(1),
            *(nn.LayerNorm(8), nn.Linear(8, 8), identity(), nn.Linear(8, 8)),
        ),
        (8, 8),
        {"a": "NLC", "b": "NCL", "c": "NLC"},
    ),
    "mixer of convolutions of size 1": (
        lambda: Steps(
            lambda x, a, b, c: c((y := a(x)) + b(y)).mean(1), *(nn.LayerNorm(8), nn.Conv1d(8, 8, 1), nn.Linear(8, 8))
        ),
        (8, 8),
        {"a": "NLC", "b": "NLC"},
    ),
    "squeeze and excitation": (
        lambda: Steps(
            lambda x, a, b, c: c((y := a(x)) * b(y.mean((2, 3)))[..., None, None]),
            *(nn.Conv2d(8, 8, 3), nn.Linear(8, 8), identity()),
        ),
        (8, 10, 14),
        {"a": "NCHW", "b": "NC", "c": "NCHW"},
    ),
    "convolution over channels": (  # efficient channel attention, arXiv 1910.03151
        lambda: Steps(
            lambda x, a, b, c: c((y := a(x)) * b(y.mean((2, 3), keepdim=True)[..., 0].mT).mT[..., None]),
            *(nn.Conv2d(8, 8, 3), nn.Conv1d(1, 1, 3, padding=1), identity()),
        ),
        (8, 10, 14),
        {"a": "NCHW", "c": "NCHW"},
    ),
    "mean over channels": (  # spatial attention, arXiv 1807.06521
        lambda: Steps(
            lambda x, a, b, c: c((y := a(x)) * b(y.mean(1)[:, None])),
            *(nn.Conv2d(8, 8, 3), nn.Conv2d(1, 1, 3, padding=1), identity()),
        ),
        (8, 10, 14),
        {"a": "NCHW", "c": "NCHW"},
    ),
    "channel shuffle by views": (
        lambda: Steps(
            lambda x, a, b: b(a(x).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)), convolution(2), identity()
        ),
        (8, 8, 12),
        {"a": "NCHW", "b": "NCHW"},
    ),
    "product by weights on the left": (
        lambda: Steps(lambda x, a, b: a(torch.ones(8, 8) @ x), identity(), identity()),
        (8, 8),
        {"a": "NCL"},
    ),
    "embedded": (
        lambda: Steps(lambda x, a, b: b(a(x.long())), nn.Embedding(9, 8), nn.ReLU()),
        (8,),
        {"a": "NLC", "b": "NLC"},
    ),
    "vectors": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 8)), (8,), dict.fromkeys("01", "NC")),
    "nothing but sums": (lambda: nn.Sequential(identity(), nn.Flatten(), nn.Linear(96, 3)), (8, 12), {"0": None}),
    "time in the batch": (
        lambda: Steps(lambda x, a: a(x.flatten(0, 1)).view(-1, 8, 8).mean(1), nn.Linear(8, 8)),
        (8, 8),
        {"a": None},
    ),
    "vectors as columns": (lambda: Steps(lambda x, a: a(x.t()).t(), identity()), (8,), {"a": None}),
}


@pytest.mark.parametrize("case", CASES)
def test_find_layouts_network_shows_its_layouts(case: str) -> None:
    make, shape, expected = CASES[case]
    found = layouts_of(make(), *shape)
    assert {name: found[name] for name in expected} == expected


def test_find_layouts_network_keeps_its_mode_and_hooks() -> None:
    net = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Dropout()).train()
    assert list(find_layouts(net, (torch.zeros(1, 2, 8),), ["1"])) == ["1"]
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_find_layouts_module_that_runs_twice_or_returns_integers_is_left_out() -> None:
    net = Steps(lambda x, a, b, c: c(b(a(a(x)))), nn.Tanh(), nn.Linear(4, 4), nn.Identity())
    assert list(layouts_of(net, 4)) == ["b", "c"]
    assert list(layouts_of(Steps(lambda x, a, b: b(a(x).argmax(-1)) + x.sum(), nn.Tanh(), nn.Identity()), 4)) == ["a"]


CLEAR = FoundLayout((1, 8, 8, 12), 0, 1)
UNCLEAR = FoundLayout((1, 8, 8, 12), 0, None)


def test_choose_layouts_named_ones_replace_those_found() -> None:
    found = {"a": CLEAR, "b": UNCLEAR}
    assert choose_layouts({"a": CLEAR, "b": FoundLayout((8, 1, 6), 1, 2)}, ()) == ("NCHW", "LNC")
    assert choose_layouts(found, ("NHWC",)) == ("NHWC", "NHWC")
    assert choose_layouts(found, ("NHWC", "NCHW")) == ("NHWC", "NCHW")


@pytest.mark.parametrize(
    ("found", "asked", "reason", "hint"),
    [
        (UNCLEAR, (), r"which axis of the features \(N, 8, 8, 12\) at tap 'a'", "Give --tap-layout NCHW or NHWC, or"),
        (CLEAR, ("NCHW", "NCHW"), "2 layouts for 1 exit", "one for each"),
        (CLEAR, ("NLC",), "does not fit tap 'a', which gives features of shape", "NCHW, NHWC"),
        (CLEAR, ("NCWH",), "unknown layout 'NCWH' of tap 'a'", "NC, NCL, NLC"),
        (FoundLayout((6, 1, 8), 1, 2), ("NLC",), "the batch is axis 1", "LNC"),
        (FoundLayout((16, 8), None, None), (), "no axis of them is the batch alone", "Tap another module"),
        (FoundLayout((8, 1), 1, 0), (), r"no exit reads features of shape \(8, N\)", "Tap another module"),
        (FoundLayout((1, 2, 3, 4, 5, 6), 0, 1), (), r"no exit reads features of shape \(N, 2, 3", "Tap another"),
        (FoundLayout((1, 4, 8, 3), 0, 2), (), r"no exit reads features of shape \(N, 4, 8, 3\)", "Tap another"),
    ],
)
def test_choose_layouts_unfit_raises_usage_error(
    found: FoundLayout, asked: tuple[str, ...], reason: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        choose_layouts({"a": found}, asked)
    assert hint in (raised.value.hint or "")
