"""Networks that return more than one tensor: with exits of their own, or with other outputs beside the logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

CLASSES = 10
MODULE = "tests.helpers.multi_exit_networks"


def reference(name: str) -> str:
    """The MODEL argument of a network here, for images 1x8x8."""
    return f"{MODULE}:make(name={name!r})"


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Classifier(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))  # (N, C, H, W) -> (N, C)


class Branchy(nn.Module):
    """BranchyNet: the first branch has layers of its own; the exits are a list, the shallowest first."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block(1, 8), block(8, 12, 2), block(12, 16, 2)])
        self.heads = nn.ModuleList([nn.Sequential(block(8, 8, 2), Classifier(8)), Classifier(12), Classifier(16)])

    def exits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        outputs = []
        for layers, head in zip(self.blocks, self.heads, strict=True):
            x = layers(x)
            outputs.append(head(x))
        return outputs, x

    def forward(self, x: Tensor) -> Any:
        return self.exits(x)[0]


class MultiScale(nn.Module):
    """MSDNet: two scales, of which both go on at every exit; all heads run at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.ModuleList([block(1, 4), block(4, 4), block(8, 4)])
        self.coarse = nn.ModuleList([block(4, 6, 2), block(4, 6, 2), block(4, 6, 2)])
        self.keep = nn.ModuleList([block(6, 6), block(12, 6)])
        self.heads = nn.ModuleList([Classifier(6), Classifier(12), Classifier(12)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.fine[0](x)
        coarse = self.coarse[0](fine)
        features, all_fine, all_coarse = [coarse], fine, coarse
        for i in (1, 2):
            fine = self.fine[i](all_fine)
            coarse = torch.cat([self.coarse[i](fine), self.keep[i - 1](all_coarse)], 1)
            features.append(coarse)
            all_fine, all_coarse = torch.cat([all_fine, fine], 1), coarse
        return tuple(head(feature) for head, feature in zip(self.heads, features, strict=True))


class Shared(nn.Module):
    """All exits use one classifier, and the deepest comes first in the list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block(1, 8), block(8, 8, 2), block(8, 8)])
        self.head = Classifier(8)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layers in self.blocks:
            x = layers(x)
            features.append(x)
        return [self.head(feature) for feature in reversed(features)]


class Averaging(Branchy):
    """Every exit adds the logits of the exit before: one component reads the outputs of another."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        outputs, _ = self.exits(x)
        for i in (1, 2):
            outputs[i] = outputs[i] + 0.5 * outputs[i - 1]
        return {"exits": {"shallow": outputs[0], "middle": outputs[1], "deep": outputs[2]}}


class Perceptron(nn.Module):
    """The first exit reads the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.hidden, self.last = nn.Linear(64, CLASSES), nn.Linear(64, 24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flatten(1)
        return self.first(x), self.last(self.hidden(x).relu())


class Trailing(nn.Module):
    """Computes an auxiliary classifier of many layers last."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(block(1, 8), block(8, 8, 2))
        self.out = Classifier(8)
        self.auxiliary = nn.Sequential(block(8, 32), block(32, 32), Classifier(32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(x)
        return self.out(x), self.auxiliary(x)


class Pair(NamedTuple):
    logits: Tensor
    auxiliary: Tensor | None


@dataclass
class Result:
    loss: Tensor | None
    scores: Tensor
    hidden: list[Tensor]


class Formed(Branchy):
    """Returns what `form` makes of the exits and the last feature, which is as wide as there are classes."""

    def __init__(self, form: Callable[[list[Tensor], Tensor, bool], Any]) -> None:
        super().__init__()
        self.form = form
        self.embed = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Any:
        exits, features = self.exits(x)
        return self.form(exits, self.embed(features.mean((2, 3))), self.training)


FORMS: dict[str, Callable[[list[Tensor], Tensor, bool], Any]] = {
    "list": lambda e, f, t: e,
    "dict of list": lambda e, f, t: {"logits": e, "features": f},
    "probabilities first": lambda e, f, t: (e[2].softmax(1), e[2]),
    "sigmoid first": lambda e, f, t: (e[2].sigmoid(), e[2]),
    "embedding first": lambda e, f, t: (f, e[2]),
    "wide embedding first": lambda e, f, t: (f.repeat(1, 3), e[2]),
    "none beside": lambda e, f, t: (e[2], None),
    "named logits": lambda e, f, t: {"features": f, "logits": e[2]},
    "twice": lambda e, f, t: (e[2], {"again": e[2]}),
    "dataclass": lambda e, f, t: Result(None, e[2], [f[:, None]]),
    "auxiliary in training": lambda e, f, t: Pair(e[2], e[0]) if t else e[2],
    "tuple in training": lambda e, f, t: (e[2], e[0]) if t else e[2],
    "exits in training": lambda e, f, t: e if t else e[2],
    "noise in training": lambda e, f, t: (e[2] + torch.randn_like(e[2]), e[0]) if t else e[2],
    "reversed in training": lambda e, f, t: e[::-1] if t else e,
    "zeros": lambda e, f, t: (0 * e[0], 0 * e[2]) if t else 0 * e[2],
    "one name twice": lambda e, f, t: {"a": {"b": e[1]}, "a.b": e[2]},
    "softmax": lambda e, f, t: e[2].softmax(1),
    "softmax in evaluation": lambda e, f, t: e[2] if t else e[2].softmax(1),
    "sigmoid": lambda e, f, t: e[2].sigmoid(),
    "log softmax": lambda e, f, t: e[2].log_softmax(1),
    "other names in training": lambda e, f, t: (e[2], None) if t else {"logits": e[2], "more": None},
    "probabilities among exits": lambda e, f, t: [e[0], e[1], e[2].softmax(1)],
    "two places": lambda e, f, t: (f, e),
    "one tensor in parts": lambda e, f, t: torch.cat(e, 1).chunk(3, 1),
    "features": lambda e, f, t: (f.repeat(1, 3), f[:, :3, None]),
}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "branchy": Branchy,
    "multi-scale": MultiScale,
    "shared": Shared,
    "averaging": Averaging,
    "perceptron": Perceptron,
    "trailing": Trailing,
}


def make(name: str) -> nn.Module:
    """Build the network called `name`."""
    return NETWORKS[name]() if name in NETWORKS else Formed(FORMS[name])


def patterns(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Draw examples (n, 1, 8, 8) and labels: a pattern for each class, with noise."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, 1, 8, 8))
    labels = rng.integers(CLASSES, size=count)
    return (means[labels] + 0.3 * rng.normal(size=(count, 1, 8, 8))).astype(np.float32), labels
