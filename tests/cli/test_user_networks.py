"""Networks of the user whose code fails, prints or changes: the commands tell whose fault it is, and go no further."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eetool.cli.app import main

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 3)
    def forward(self, x):
        return self.head(self.blocks(x))

class RaisesInTrainMode(Net):
    def forward(self, x):
        if self.training:
            raise ValueError("no noise level")
        return super().forward(x)

class Prints(Net):
    def forward(self, x):
        print("shape", tuple(x.shape))
        return super().forward(x)

class Late(Net):
    steps = 0
    def forward(self, x):
        Late.steps += self.training
        if Late.steps > 8:
            raise IndexError("no more steps")
        return super().forward(x)

class Two(Net):
    def forward(self, x, y):
        return super().forward(x) + super().forward(y)

def pair():
    return Two(), {"a": torch.zeros(1, 6), "b": torch.zeros(1, 6)}

def example():
    return RaisesInTrainMode(), {"x": torch.zeros(1, 6)}

def doubled():
    return Net().double()

def wants(width):
    return Net()

def ends():
    raise SystemExit("usage: networks.py FILE")
"""
LINE = NETWORKS[: NETWORKS.index("no noise level")].count("\n") + 1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with networks of the user and data in it."""
    (tmp_path / "networks.py").write_text(NETWORKS)
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    features = rng.normal(size=(120, 6)).astype(np.float32) + 3 * np.eye(6, dtype=np.float32)[labels]
    np.savez(tmp_path / "data.npz", features=features, labels=labels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    return tmp_path


def options(epochs: int = 1) -> tuple[object, ...]:
    return ("--exits", 1, "--branch", "linear", "--epochs", epochs, "-o", "model.pt")


@pytest.mark.usefixtures("folder")
def test_train_fault_of_train_mode_is_told_before_data_is_read(cli) -> None:  # type: ignore[no-untyped-def]
    for model, shape in (("networks:RaisesInTrainMode", ("--input", "1x6")), ("networks:example", ())):
        result = cli("train", model, "--data", "cifar10", *shape, *options())  # would have to be downloaded
        assert result.code == 3, result
        assert f"in train mode in the network's own forward (RaisesInTrainMode), networks.py:{LINE}" in result.stderr
        assert "ValueError: no noise level" in result.stderr
        assert "not of eetool" in result.stderr
    assert cli("train", "networks:RaisesInTrainMode", "--data", "npz:missing.npz", *options()).code == 3
    assert cli("train", "networks:RaisesInTrainMode", "--input", "1x6", *options(0)).code == 0, "it only runs"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("model", "code", "reason", "hint"),
    [
        ("networks:RaisesInTrainMode", 3, "ValueError: no noise level", "not of eetool"),
        ("networks:Late", 3, "networks.py:", "not of eetool"),
        ("networks:pair", 2, "takes 2 inputs (a, b), and data sources have one", "--epochs 0"),
        ("networks:Two", 2, "does not take 1 input (input): missing a required argument: 'y'", "example tensor"),
        ("networks:wants", 3, "missing a required argument: 'width'", "networks:wants(name=value)"),
        ("networks:ends", 3, "fails in networks.py:", "not of eetool"),
        ("networks:nn", 2, "networks:nn is module, not a function", "A factory returns"),
    ],
)
def test_train_fault_of_the_users_code_is_not_a_fault_of_eetool(  # type: ignore[no-untyped-def]
    cli, model: str, code: int, reason: str, hint: str
) -> None:
    result = cli("train", model, "--data", "npz:data.npz", *options(4))
    assert result.code == code, result
    assert reason in result.stderr
    assert hint in result.stderr
    assert "fault of eetool" not in result.stderr
    assert not Path("model.pt").exists()


@pytest.mark.usefixtures("folder")
def test_train_network_that_prints_leaves_stdout_to_the_document(cli) -> None:  # type: ignore[no-untyped-def]
    result = cli("inspect", "networks:Prints", "--input", "1x6", "--json")
    assert json.loads(result.stdout)["model"] == "networks:Prints"
    assert "shape (2, 6)" in result.stderr


def test_other_commands_network_that_fails_now_is_told_with_its_place(cli, folder: Path) -> None:  # type: ignore[no-untyped-def]
    assert cli("train", "networks:doubled", "--data", "npz:data.npz", *options()).code == 0
    broken = NETWORKS.replace("return self.head(self.blocks(x))", "return self.head(x)")
    (folder / "networks.py").write_text(broken)
    del sys.modules["networks"]
    line = broken[: broken.index("return self.head(x)")].count("\n") + 1
    named = ("--model", "networks:doubled")
    for command in (("tune", "model.pt", "--data", "npz:data.npz"), ("export", "model.pt"), ("inspect", "model.pt")):
        result = cli(*command, *named)
        assert result.code == 3, result
        assert f"the network fails in head (Linear), networks.py:{line}: RuntimeError" in result.stderr
        assert "fault of eetool" not in result.stderr
    assert not Path("model.eebundle").exists()


@pytest.mark.usefixtures("folder")
def test_verbose_shows_the_traceback_of_the_users_code() -> None:
    result = CliRunner().invoke(main, ["inspect", "networks:ends", "--input", "1x6", "-v"])
    assert result.exit_code == 3
    assert 'networks.py", line' in result.stderr
    assert "usage: networks.py FILE" in result.stderr
