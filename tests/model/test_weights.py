"""Weights from files: all tensors are loaded, or an error lists the differences."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eetool.errors import ArtefactError, UsageError
from eetool.model.backbones.registry import build_backbone
from eetool.model.early_exit import EarlyExitNet
from eetool.model.weights import load_weights as load_into

SHAPE = (1, 3, 32, 32)


def resnet8(classes: int = 10) -> nn.Module:
    return build_backbone("resnet8", SHAPE, classes)


def load_weights(backbone: nn.Module, path: Path, classes: int) -> None:
    assert load_into(EarlyExitNet(backbone, {}), path, classes).exits == 0


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


class Notes:
    """Collects what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 10))


def load_small(stored: Any, path: Path, key: str | None = None) -> tuple[nn.Module, list[str]]:
    """Return the network that was loaded from `stored`, and the notes without the name of the file."""
    torch.save(stored, path)
    net, notes = EarlyExitNet(small(), {}), Notes()
    assert load_into(net, path, 10, notes, key).exits == 0  # type: ignore[arg-type]
    return net.backbone, [line.removeprefix(f"{path}: ") for line in notes.lines]


def named(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: x for name, x in state.items()}


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda s: named("_orig_mod.", s), "the weights are those of '_orig_mod'"),
        (lambda s: named("backbone.", s), "the weights are those of 'backbone'"),
        (lambda s: {"net": s}, "the weights are those of 'net'"),
        (lambda s: {"ema": {"shadow": named("net.", s)}}, "the weights are those of 'ema.shadow.net'"),
        (lambda s: {"state_dict": named("model.", s), "epoch": 3}, "the weights are those of 'state_dict.model'"),
        (
            lambda s: {"state_dict": named("model.", s) | {"loss.weight": torch.ones(3)}},
            "the weights are those of 'state_dict.model'; 1 other tensors beside them are not used",
        ),
        (lambda s: named("module.", s) | {"n_averaged": torch.tensor(3)}, "the weights are those of 'module'"),
        (lambda s: named("module._orig_mod.", s), "the weights are those of 'module._orig_mod'"),
        (lambda s: {n.replace("0.", "0._orig_mod.", 1): x for n, x in s.items()}, "names are read without '_orig_mod'"),
        (lambda s: {"model": s, "best": dict(s)}, "the weights are those of 'model'"),
        (lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, "the weights are those of"),
    ],
)
def test_load_weights_wrappers_are_left_out_and_named(tmp_path: Path, wrap: Any, note: str) -> None:
    first = small()
    loaded, notes = load_small(wrap(first.state_dict()), tmp_path / "w.pth")
    assert_equal(first, loaded)
    assert len(notes) == 1
    assert notes[0].startswith(note)


def test_load_weights_several_networks_are_asked_for_by_key(tmp_path: Path) -> None:
    first, second = small(), small()
    stored = {"model": first.state_dict(), "model_ema": named("module.", second.state_dict())}
    with pytest.raises(UsageError, match=r"holds several networks: model, model_ema\.module") as caught:
        load_small(stored, tmp_path / "w.pth")
    assert str(caught.value.hint).startswith("Such as --weights-key model_ema")
    for key, expected in (("model", first), ("model_ema", second), ("model_ema.module", second)):
        assert_equal(expected, load_small(stored, tmp_path / "w.pth", key)[0])
    with pytest.raises(UsageError, match="holds no tensors of the network at 'mode'") as caught:
        load_small(stored, tmp_path / "w.pth", "mode")
    assert str(caught.value.hint).startswith("It holds: model, model_ema")


def test_load_weights_misspelt_names_are_listed_with_the_nearest(tmp_path: Path) -> None:
    stored = {name.replace("weight", "weigth"): x for name, x in small().state_dict().items()}
    with pytest.raises(ArtefactError) as caught:
        load_small({"net": stored}, tmp_path / "w.pth")
    assert caught.value.message.splitlines() == [
        f"{tmp_path / 'w.pth'} (at 'net') does not fit the backbone:",
        "  missing: 0.weight (nearest: 0.weigth), 1.weight (nearest: 1.weigth), 3.weight (nearest: 3.weigth)",
        "  unexpected: 0.weigth, 1.weigth, 3.weigth",
    ]


def test_load_weights_of_another_network_list_the_differences(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"does not fit the backbone:\n  missing: 0.weight, .*\n  unexpected: fc.w"):
        load_small({"fc.w": torch.ones(2)}, tmp_path / "w.pth")


def spoilt(change: Callable[[dict[str, Tensor]], None]) -> dict[str, Tensor]:
    state = {name: x.clone() for name, x in small().state_dict().items()}
    change(state)
    return state


def put(name: str, value: Any) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: state.update({name: value(state[name])})


def with_nan(x: Tensor) -> Tensor:
    x.view(-1)[:2] = torch.nan
    return x


@pytest.mark.parametrize(
    ("change", "line", "hint"),
    [
        (put("0.weight", with_nan), "0.weight: 2 NaN of 18 values", "diverge"),
        (put("3.bias", lambda x: x + torch.inf), "3.bias: 10 infinite of 10 values", "float16"),
        (put("3.bias", lambda x: (x + 1e5).half()), "3.bias: 10 infinite of 10 values, stored as float16", "65504"),
        (put("3.bias", lambda x: x.double() + 1e300), "3.bias: 10 beyond float32 of 10 values, stored as", "diverge"),
        (put("1.running_var", lambda x: x - 3), "1.running_var: 2 of 2 variances are negative, the least is -2", ""),
        (put("1.running_var", with_nan), "1.running_var: 2 NaN of 2 values", ""),
        (put("0.weight", lambda x: (9 * x).to(torch.int8)), "0.weight is int8 where float32 is needed", "quantis"),
        (put("0.weight", lambda x: x.to(torch.float8_e4m3fn)), "0.weight is float8_e4m3fn where float32", "float32"),
        (put("0.weight", lambda x: x.to(torch.complex64)), "0.weight is complex64 where float32 is needed", "float32"),
        (put("3.weight", Tensor.to_sparse), "3.weight is sparse", "float32"),
    ],
)
def test_load_weights_invalid_values_are_refused_by_tensor_and_count(
    tmp_path: Path, change: Any, line: str, hint: str
) -> None:
    with pytest.raises(ArtefactError) as caught:
        load_small(spoilt(change), tmp_path / "w.pth")
    assert caught.value.message.splitlines()[1].strip().startswith(line)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_load_weights_other_floats_are_converted_and_said(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: x.to(dtype) for name, x in small().state_dict().items()}  # the counter too
    loaded, notes = load_small(state, tmp_path / "w.pth")
    assert notes == [f"{str(dtype).removeprefix('torch.')} was converted to float32"]
    assert torch.equal(loaded.state_dict()["3.weight"], state["3.weight"].float())
    assert int(loaded.state_dict()["1.num_batches_tracked"]) == 0


def test_load_weights_variance_of_zero_is_said(tmp_path: Path) -> None:
    notes = load_small(spoilt(put("1.running_var", lambda x: x * 0)), tmp_path / "w.pth")[1]
    assert notes == ["running variances that are 0: 1.running_var 2 of 2"]


def test_load_weights_attention_mask_of_infinities_is_valid(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    torch.save(Masked().state_dict(), tmp_path / "w.pth")
    load_weights(Masked(), tmp_path / "w.pth", 2)


def test_load_weights_exit_with_nan_is_refused(tmp_path: Path) -> None:
    net = EarlyExitNet(nn.Sequential(nn.Linear(2, 10)), {"0": nn.Linear(10, 10)})
    state = net.state_dict() | {"exits.0.bias": torch.full((10,), torch.nan)}
    torch.save({"run": {"taps": ["0"]}, "net": state}, tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=r"exit at 0: values .*\n  bias: 10 NaN of 10 values"):
        load_into(net, tmp_path / "w.pth", 10)


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("net.onnx", b"\x08\x07", "is an ONNX file", "state dict"),
        ("w.h5", b"\x89HDF\r\n\x1a\n", "is an HDF5 file", "state dict"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\n", "is the pointer of Git LFS", "git lfs pull"),
        ("w.tflite", b"\x1c\0\0\0TFL3" + bytes(60), "is a TFLite file", "state dict"),
    ],
)
def test_load_weights_files_of_other_kinds_are_named(
    tmp_path: Path, name: str, content: bytes, message: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as caught:
        load_weights(small(), tmp_path / name, 10)
    assert hint in str(caught.value.hint)


def test_load_weights_whole_modules_and_programs_are_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save({"model": small(), "epoch": 1}, tmp_path / "code.pth")
    with pytest.raises(
        ArtefactError, match=r"holds Python objects \(torch.nn.modules.container.Sequential\)"
    ) as caught:
        load_weights(small(), tmp_path / "code.pth", 10)
    assert caught.value.hint == "Save its tensors alone: torch.save(model.state_dict(), FILE)."
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")  # what distinguishes a program
    with pytest.raises(ArtefactError, match="is a TorchScript program"):
        load_weights(small(), tmp_path / "script.pt", 10)


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
        "  missing: bn1.weight",  # and nothing near it has its shape
        "  unexpected: extra.weight",
        "  of another shape: conv1.weight [16, 1, 3, 3] where [16, 3, 3, 3] is needed",
    ]


def test_load_weights_classifier_of_another_size_gives_hint(tmp_path: Path) -> None:
    torch.save(resnet8(classes=100).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=r"linear.weight \[100, 64\] where \[10, 64\] is needed") as caught:
        load_weights(resnet8(), tmp_path / "w.pth", 10)
    assert (
        caught.value.hint == "It was made for 100 classes: --new-classifier fits another one on the training examples."
    )


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
    assert load_into(net, tmp_path / "w.pth", 10).exits == 0
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
