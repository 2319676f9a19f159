"""Trial runs of networks that training or inference would break on: what is told, and where."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.model.early_exit import EarlyExitNet
from eetool.model.network_check.trial_run import TrialTraining, try_inference, try_training

CLASSES = 3
USUAL = TrialTraining()


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.stem(x)))

    def classify(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.mean((2, 3)))  # (N, C, H, W) -> (N, C)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise KeyError("noise level")  # line: train mode
        return x


class RaisesInTrainMode(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Identity(), Noise())

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.blocks(self.features(x)))


class ChangesInPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(self.features(x))
        z = 2 * y
        y += 1  # line: in place
        return self.classify(y + z)


class ChangesWeightInPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.head.weight.mul_(1.0)  # line: weight
        return super().forward(x)


class ChangesInput(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x.view(-1).sub_(0.5)  # line: input
        return super().forward(x)


class InferenceStem(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            x = self.stem(x)
        return self.classify(self.norm(x))  # line: inference tensor


class NoGradients(Plain):
    @torch.no_grad()  # line: no_grad
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class InferenceMode(Plain):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class DetachedFeatures(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x).detach())


class DetachedLogits(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class GrowsModules(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.ModuleList()

    def forward(self, x: Tensor) -> Tensor:
        self.more.append(nn.Linear(2, 2))
        return super().forward(x)


class KeepsInput(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(2, 1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.detach()
        return super().forward(x)


class FixedBatch(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum(0).expand(2, CLASSES)


class WantsSeveral(Plain):
    def forward(self, x: Tensor) -> Tensor:
        assert len(x) > 1, "one alone"  # line: one alone
        return super().forward(x)


class ComplexLogits(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(super().forward(x))


class OtherInTrainMode(Plain):
    def forward(self, x: Tensor) -> Tensor | list[Tensor]:  # type: ignore[override]
        logits = super().forward(x)
        return [logits] if self.training else logits


class Ends(Plain):
    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit(0)  # line: end


class OneVector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(64), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(x.flatten(1)))  # line: vector
        return logits


class Tied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.again, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.last.weight = self.again.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.last(self.again(self.features(x))))


def inputs() -> list[Tensor]:
    return [torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))]


def line(marker: str) -> int:
    """Return the number of the line in this file that `# line: marker` marks."""
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(i for i, text in enumerate(lines) if text.endswith(f"# line: {marker}"))


def told(error: EarlyExitError) -> str:
    return f"{error.message} | {error.hint}"


def train(net: nn.Module, training: TrialTraining = USUAL) -> list[str]:
    torch.manual_seed(0)
    return try_training(EarlyExitNet(net, {}), inputs(), training, "mine:net")


@pytest.mark.parametrize(
    ("net", "place", "reason", "hint"),
    [
        (RaisesInTrainMode, "blocks.1 (Noise), {}:train mode", "in train mode", "code of the network, not of eetool"),
        (ChangesInPlace, "the network's own forward (ChangesInPlace), {}:in place", "inplace operation", "x = x + 1"),
        (ChangesWeightInPlace, "the network's own forward (ChangesWeightInPlace), {}:weight", "leaf", "x = x + 1"),
        (InferenceStem, "norm (BatchNorm2d), {}:inference tensor", "Inference tensors", "torch.inference_mode"),
        (NoGradients, "the network's own forward (NoGradients), {}:no_grad", "have no gradients", "torch.no_grad"),
        (DetachedLogits, "", "its outputs have no gradients", "detach()"),
        (Ends, "the network's own forward (Ends), {}:end", "it ends the program (SystemExit)", "not of eetool"),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else "",
)
def test_try_training_network_that_cannot_train_names_module_and_line(
    net: type[nn.Module], place: str, reason: str, hint: str
) -> None:
    with pytest.raises(ArtefactError) as refused:
        train(net())
    words, _, marker = place.partition("{}:")
    expected = f" in {words}{Path(__file__).name}:{line(marker)}" if marker else ""
    assert expected in refused.value.message
    assert reason in refused.value.message
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (
            ChangesInput,
            ArtefactError,
            "mine:net changes its input in place in the network's own forward (ChangesInput)",
        ),
        (InferenceMode, ArtefactError, "mine:net runs in torch.inference_mode"),
        (GrowsModules, ArtefactError, "the forward of mine:net adds the tensor more.0.weight and 3 more"),
        (KeepsInput, ArtefactError, "the forward of mine:net changes the shape of the tensor last"),
        (FixedBatch, UsageError, "mine:net gives shape (2, 3) for a batch of 1, not logits of shape (1, 3)"),
        (WantsSeveral, ArtefactError, "mine:net, on a batch of 1, fails in the network's own forward (WantsSeveral)"),
        (ComplexLogits, UsageError, "mine:net gives complex64, not logits of floats"),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else "",
)
def test_try_inference_network_that_no_device_can_run_is_refused(
    net: type[nn.Module], error: type[EarlyExitError], message: str
) -> None:
    with pytest.raises(error) as refused:
        try_inference(net(), inputs(), CLASSES, "mine:net")
    assert refused.value.message.startswith(message)
    if net in (ChangesInput, WantsSeveral):
        marker = "input" if net is ChangesInput else "one alone"
        assert f", {Path(__file__).name}:{line(marker)}" in refused.value.message


def test_try_training_other_output_in_train_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="the backbone returns list in train mode, not one tensor of logits"):
        train(OtherInTrainMode())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("net", [Plain, Tied])
def test_try_training_good_network_is_left_as_it_was(net: type[nn.Module], bf16: bool) -> None:
    module = net().eval()
    module.norm.train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    net_with_exit = EarlyExitNet(
        module, {"stem": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))}
    )
    random = torch.get_rng_state()
    assert try_training(net_with_exit, inputs(), TrialTraining(bf16=bf16), "mine:net") == []
    try_inference(module, inputs(), CLASSES, "mine:net")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert [module.training, module.norm.training, module.stem.training] == [False, True, False]
    assert all(p.grad is None and p.requires_grad for p in net_with_exit.parameters())


def test_try_training_weights_without_gradient_are_noted() -> None:
    idle = "stem.weight, stem.bias, norm.weight and 1 more"
    assert train(DetachedFeatures()) == [f"warning: 4 weights of mine:net get no gradient and do not learn: {idle}"]


def test_try_training_frozen_weights_are_told_apart() -> None:
    net = Plain()
    net.stem.requires_grad_(False)
    assert train(net) == ["2 weights of mine:net are frozen (requires_grad is False) and stay as they are"]
    net.requires_grad_(False)
    with pytest.raises(UsageError, match="all weights of mine:net are frozen") as refused:
        train(net)
    assert "recipe frozen" in str(refused.value.hint)
    assert train(net, TrialTraining(frozen=True)) == []
    assert not any(p.requires_grad for p in net.parameters())


def test_try_training_batch_of_one_is_refused_where_a_normalisation_needs_two() -> None:
    assert train(OneVector(), TrialTraining(batch_size=2)) == []
    with pytest.raises(ArtefactError, match=r"in norm \(BatchNorm1d\), .*Expected more than 1 value") as refused:
        train(OneVector(), TrialTraining(batch_size=1))
    assert f"{Path(__file__).name}:{line('vector')}" in told(refused.value)
    assert "batches of 2 or more" in str(refused.value.hint)
    exits = {"stem": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))}
    with pytest.raises(UsageError, match="mine:net with its exits cannot be trained on a batch of 1"):
        try_training(EarlyExitNet(Plain(), exits), inputs(), TrialTraining(batch_size=1), "mine:net")
