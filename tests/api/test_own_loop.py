"""A loop of the user's own: from data and a module to a model.pt that functions and commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import eetool
from eetool.data.source import Source
from eetool.errors import ArtefactError, OutputError, UsageError
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.train.labelled_data import LabelledData
from tests.helpers.own_networks import Small

REFERENCE = "tests.helpers.own_networks:Small"


@pytest.fixture(scope="module")
def data(digits: Source) -> LabelledData:
    return eetool.load_data(digits)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def net(data: LabelledData) -> EarlyExitNet:
    """Network after one pass over the training split."""
    torch.manual_seed(0)
    loader = DataLoader(data.split("train"), batch_size=32, shuffle=True)
    net = eetool.attach_exits(Small(), next(iter(loader))[0], exits=1, branch="linear")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for inputs, labels in loader:
        optimizer.zero_grad()
        eetool.distillation_loss(net(inputs), labels).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def saved(net: EarlyExitNet, data: LabelledData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    path = tmp_path_factory.mktemp("own") / "model.pt"
    return path, eetool.save(net, path, data=data)


def test_load_data_split_equals_what_the_runtime_reads(data: LabelledData, saved: tuple[Path, Checkpoint]) -> None:
    from eetool.data.model_inputs import model_inputs

    item = saved[1].record.spec.inputs[0]
    inputs, labels = data.split("temperature").tensors()
    assert np.allclose(inputs, model_inputs(data.source.inputs[data.splits["temperature"]], item), atol=1e-6)
    assert labels.tolist() == data.source.labels[data.splits["temperature"]].tolist()
    pairs = data.split("temperature").__getitems__([3, 0])
    assert torch.equal(pairs[0][0], data.split("temperature")[3][0])
    assert pairs[1][1] == labels[0]


def test_save_checkpoint_holds_the_network_and_its_data(
    net: EarlyExitNet, saved: tuple[Path, Checkpoint], data: LabelledData
) -> None:
    path, checkpoint = saved
    read = eetool.load_checkpoint(path, Small)
    assert read.record == checkpoint.record
    assert read.record.data == data.record
    assert read.record.spec.labels == data.classes
    inputs = data.split("test").tensors(5)[0]
    expected = net.eval()(inputs)
    assert all(torch.equal(a, b) for a, b in zip(read.build()(inputs), expected, strict=True))


def test_saved_model_goes_through_functions_and_commands(
    saved: tuple[Path, Checkpoint], data: LabelledData, cli: Callable[..., Any], tmp_path: Path
) -> None:
    path, checkpoint = saved
    calibration = eetool.calibrate(checkpoint, data)
    tuned = eetool.tune(checkpoint, data, max_accuracy_drop=5)
    assert tuned.output is None
    assert tuned.checkpoint is not None
    assert tuned.result.calibration == calibration
    by_path = tmp_path / "tuned.pt"
    output = cli("tune", path, "--data", "digits", "--model", REFERENCE, "--max-accuracy-drop", 5, "-o", by_path)
    assert output.code == 0, output
    assert eetool.load_checkpoint(by_path, REFERENCE).record == tuned.checkpoint.record
    bundle = eetool.export(tuned.checkpoint, tmp_path / "a.eebundle", reference_graphs=False)
    output = cli("export", by_path, "--model", REFERENCE, "--no-reference", "-o", tmp_path / "b.eebundle")
    assert output.code == 0, output
    assert bundle.manifest.files == eetool.load(tmp_path / "b.eebundle").bundle.manifest.files
    images = data.source.inputs[data.splits["test"][:3]]
    expected = tuned.checkpoint.build()(data.split("test").__getitems__([0])[0][0][None])[-1]
    model = eetool.load(bundle)
    model.use("full")
    assert model(model.preprocess(images[0].transpose(1, 2, 0))).index == int(expected.argmax())
    for opened in (bundle, tuned.checkpoint):
        assert eetool.estimate(opened, "rpi4").means[0].latency_ms > 0


def test_save_wrappers_of_torch_are_looked_through(net: EarlyExitNet, tmp_path: Path) -> None:
    class Compiled(nn.Module):  # as torch.compile's class, whose import takes seconds
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self._orig_mod = inner

    checkpoint = eetool.save(Compiled(nn.DataParallel(net)), tmp_path / "model.pt", labels=list("abcdefghij"))
    assert set(checkpoint.state) == set(net.state_dict())
    assert checkpoint.record.data is None
    assert checkpoint.record.spec.labels[1] == "b"


def test_save_other_things_are_refused(
    net: EarlyExitNet, saved: tuple[Path, Checkpoint], data: LabelledData, tmp_path: Path
) -> None:
    features = eetool.load_data((np.random.default_rng(0).normal(size=(300, 8)), np.arange(300) % 10))
    path = tmp_path / "model.pt"
    for message, kind, call in (
        ("was not given|exists", OutputError, lambda: eetool.save(net, saved[0], data=data)),
        ("Small is not the network with exits", UsageError, lambda: eetool.save(Small(), path)),
        ("does not come from attach_exits", UsageError, lambda: eetool.save(saved[1].build(), path)),
        ("there are 2 classes, and the network 10", UsageError, lambda: eetool.save(net, path, labels=["a", "b"])),
        ("gives float32 8", UsageError, lambda: eetool.save(net, path, data=features)),
        ("int is not a model.pt", UsageError, lambda: eetool.save(net, 3)),  # type: ignore[arg-type]
        ("needs code|made of the code", UsageError, lambda: eetool.load_checkpoint(saved[0])),
        ("a network alone does not say", UsageError, lambda: eetool.tune(net, data)),  # type: ignore[arg-type]
    ):
        with pytest.raises(kind, match=message) as caught:
            call()  # type: ignore[no-untyped-call]
        assert "--" not in f"{caught.value.message} {caught.value.hint}"
    assert not path.exists()


def test_save_network_at_chance_warns_and_weights_that_are_not_finite_are_refused(
    data: LabelledData, tmp_path: Path
) -> None:
    untrained = eetool.attach_exits(Small(), data.split("train").tensors(4)[0], exits=1, branch="linear")
    with pytest.warns(UserWarning, match="which is chance") as caught:
        eetool.save(untrained, tmp_path / "model.pt", data=data)
    assert caught[0].filename == __file__
    with torch.no_grad():
        untrained.backbone.head.bias.fill_(torch.nan)  # type: ignore[union-attr,operator]
    with pytest.raises(ArtefactError, match="cannot be saved"):
        eetool.save(untrained, tmp_path / "other.pt")


def test_load_data_arrays_are_a_source_with_splits() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 3, 8, 8), np.uint8), torch.arange(200) % 3
    data = eetool.load_data((images, labels), test=(images[:9], labels[:9]), classes="abc", normalise="imagenet")
    assert data.classes == ("a", "b", "c")
    assert data.splits["test"].tolist() == list(range(200, 209))
    assert data.normalisation is not None
    assert data.split("train").tensors(2)[0].dtype == torch.float32
    for message, kind, options in (
        ("'imgenet' is no normalisation", UsageError, {"normalise": "imgenet"}),
        ("for each of 3 channels", UsageError, {"normalise": ((0.5, 0.5), (0.5, 0.5))}),
        ("cannot be divided by", UsageError, {"normalise": ((0, 0, 0), (1, 1, 0))}),
        ("hold_out is 'tset'", UsageError, {"hold_out": "tset"}),
        ("2 .*differ", ArtefactError, {"test": (images[:, :2], labels)}),
    ):
        with pytest.raises(kind, match=message if "differ" not in message else "differ"):
            eetool.load_data((images, labels), **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no split 'tran'"):
        data.split("tran")
    with pytest.raises(UsageError, match="belong to arrays"):
        eetool.load_data("digits", classes=["a"])
    with pytest.raises(UsageError, match="int is no data"):
        eetool.load_data(3)  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match="not integers"):
        eetool.load_data((images, labels.float()))
