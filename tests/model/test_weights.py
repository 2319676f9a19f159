"""Weights from files: all tensors are loaded, or an error lists the differences."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eetool.errors import ArtefactError
from eetool.model.backbones.registry import build_backbone
from eetool.model.early_exit import EarlyExitNet
from eetool.model.weights import load_weights as load_into

SHAPE = (1, 3, 32, 32)


def resnet8(classes: int = 10) -> nn.Module:
    return build_backbone("resnet8", SHAPE, classes)


def load_weights(backbone: nn.Module, path: Path, classes: int) -> None:
    assert load_into(EarlyExitNet(backbone, {}), path, classes) == 0


def assert_equal(a: nn.Module, b: nn.Module) -> None:
    assert all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_load_weights_safetensors_are_loaded_exactly(tmp_path: Path) -> None:
    first, second = (build_backbone("resnet56", SHAPE, 10) for _ in range(2))
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    load_weights(second, tmp_path / "weights.safetensors", 10)
    assert_equal(first, second)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_weights_wrapped_state_dict_is_loaded(tmp_path: Path, wrap: Any, prefix: str) -> None:
    first, second = resnet8(), resnet8()
    torch.save(wrap({prefix + name: x for name, x in first.state_dict().items()}), tmp_path / "w.pth")
    load_weights(second, tmp_path / "w.pth", 10)
    assert_equal(first, second)


def test_load_weights_missing_counters_are_accepted(tmp_path: Path) -> None:
    state = {name: x for name, x in resnet8().state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "w.pth")
    load_weights(resnet8(), tmp_path / "w.pth", 10)


def test_load_weights_tied_tensor_stored_once_is_loaded(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

    save_file({"a.weight": torch.eye(2)}, tmp_path / "w.safetensors")
    net = Tied()
    load_weights(net, tmp_path / "w.safetensors", 2)
    assert torch.equal(net.b.weight, torch.eye(2))


def test_load_weights_other_tensors_raise_error_with_all_differences(tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(resnet8().state_dict())
    del state["bn1.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(16, 1, 3, 3)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ArtefactError) as caught:
        load_weights(resnet8(), tmp_path / "w.pth", 10)
    lines = caught.value.message.splitlines()
    assert lines[1:] == [
        "  missing: bn1.weight",
        "  unexpected: extra.weight",
        "  of another shape: conv1.weight [16, 1, 3, 3] where [16, 3, 3, 3] is needed",
    ]


def test_load_weights_classifier_of_another_size_gives_hint(tmp_path: Path) -> None:
    torch.save(resnet8(classes=100).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=r"linear.weight \[100, 64\] where \[10, 64\] is needed") as caught:
        load_weights(resnet8(), tmp_path / "w.pth", 10)
    assert caught.value.hint == "It was made for 100 classes: give data of that many, or without data --classes 100."


@pytest.mark.parametrize(
    "stored",
    [
        {"record": "{}", "state": {}},
        {"record": "not JSON", "state": {}},
        {"record": torch.zeros(1), "state": {}},
        {"run": {"taps": 5}, "net": {}},
        {"run": {"taps": ["0"]}, "net": {"exits.0.weight": 1, "exits.0.bias": torch.zeros(9)}},
    ],
)
def test_load_weights_exits_that_do_not_fit_stay_unchanged(tmp_path: Path, stored: dict[str, Any]) -> None:
    net = EarlyExitNet(nn.Sequential(nn.Linear(2, 10)), {"0": nn.Linear(10, 10)})
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    inside = {f"backbone.{name}": tensor for name, tensor in net.backbone.state_dict().items()}
    stored["net" if "run" in stored else "state"].update(inside)
    torch.save(stored, tmp_path / "w.pth")
    assert load_into(net, tmp_path / "w.pth", 10) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_load_weights_file_without_tensors_raises_artefact_error(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.txt").write_text("just text\n")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\x7f{")
    torch.save(nn.Linear(2, 2), tmp_path / "code.pth")
    for path in tmp_path.iterdir():
        with pytest.raises(ArtefactError, match=path.name):
            load_weights(resnet8(), path, 10)
    with pytest.raises(ArtefactError, match="No such file"):
        load_weights(resnet8(), tmp_path / "none.pth", 10)
