"""Devices of training: the processor without accelerate, and several processes with it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eetool.errors import MissingError, UsageError
from eetool.model.checkpoint import load_checkpoint
from eetool.model.spec import TrainingSettings
from eetool.train.torch_devices import CpuDevice, open_device

SETTINGS = TrainingSettings("joint", 1, 0, 64, 0.05)


def test_open_device_processor_imports_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    engine = open_device(SETTINGS)
    assert (type(engine), engine.is_main, engine.device) == (CpuDevice, True, torch.device("cpu"))


@pytest.mark.parametrize(
    ("error", "words", "changes"),
    [
        (UsageError, "unknown torch device 'gpu'", {"torch_device": "gpu"}),
        (UsageError, "unknown torch device 'cpu:1'", {"torch_device": "cpu:1"}),
        (UsageError, "do not train in fp16", {"precision": "fp16"}),
        (MissingError, "no torch device 'cuda:7'", {"torch_device": "cuda:7"}),
    ],
)
def test_open_device_unavailable_device_raises(error: type[Exception], words: str, changes: dict[str, Any]) -> None:
    with pytest.raises(error, match=words):
        open_device(replace(SETTINGS, **changes))


def test_open_device_several_processes_without_accelerate_raises_missing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MissingError, match="accelerate is not installed") as refused:
        open_device(SETTINGS)
    assert "eetool[gpu]" in (refused.value.hint or "")


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_share_several_processes_get_equal_parts(n: int) -> None:
    engines = [CpuDevice("fp32") for _ in range(3)]
    for index, engine in enumerate(engines):
        engine.index, engine.processes = index, 3
    shares = [engine.share(torch.arange(n)) for engine in engines]
    assert len({len(share) for share in shares}) == 1
    assert set(torch.cat(shares).tolist()) == set(range(n))


def test_run_training_two_processes_give_one_model(tmp_path: Path) -> None:
    """Started by torchrun on this processor, as they would be on two GPUs."""
    pytest.importorskip("accelerate")
    path = tmp_path / "m.pt"
    options = ("--data", "digits", "--epochs", 1, "--exits", 1, "--branch", "linear", "--batch-size", 64, "-o", path)
    train = ("-m", "eetool", "train", "resnet8", *options)
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, *train)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, *map(str, run)], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1, "one process speaks"
    assert load_checkpoint(path).record.training == replace(SETTINGS, learning_rate=0.1, mirror=False, keep="best")
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt"]
