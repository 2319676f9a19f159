"""Torch devices of a training run: this processor, or by accelerate one or several GPUs.

Training on the processor uses no library besides torch, so that the same seed gives the same bytes whatever is
installed. docs/decisions/0015 has the reasons for accelerate.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import MissingError, UsageError
from eetool.model.early_exit import EarlyExitNet, ExitOutputs
from eetool.model.spec import TrainingSettings

CPU = "cpu"
_KINDS = (CPU, "cuda", "mps")
_RELEASE_SECONDS = 0.5
_EXAMPLES_SHARE = 0.2  # largest share of a GPU's free memory that examples may take
_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}

Run = Callable[[Tensor], ExitOutputs]


class CpuDevice:
    """Training on this processor, in one process."""

    device = torch.device(CPU)
    index, processes = 0, 1

    def __init__(self, precision: str) -> None:
        self.precision = precision

    @property
    def is_main(self) -> bool:
        """True in the process that writes files and reports progress."""
        return self.index == 0

    def prepare(self, net: EarlyExitNet, optimizer: torch.optim.Optimizer) -> tuple[Run, torch.optim.Optimizer]:
        """Move `net` to the device, and return a function that runs it and the optimizer to step with."""
        return net.forward_outputs, optimizer

    def home(self, size: int) -> torch.device:
        """Return the device on which `size` bytes of examples are stored during training."""
        return torch.device(CPU)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Return the context in which `net` runs."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")

    def share(self, chosen: Tensor) -> Tensor:
        """Return the examples of a batch for this process; all processes get the same number."""
        if self.processes == 1:
            return chosen
        missing = -len(chosen) % self.processes
        return torch.cat([chosen, chosen[:1].expand(missing)])[self.index :: self.processes]

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of `loss`."""
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, loss: Tensor) -> float:
        """Return the mean of the loss over all processes."""
        return float(loss.item())

    def close(self) -> None:
        """End the training."""


class AcceleratedDevice(CpuDevice):
    """Training by accelerate: on a GPU, or in one of several processes that torchrun started."""

    def __init__(self, kind: str, precision: str) -> None:
        super().__init__(precision)
        try:
            from accelerate import Accelerator
        except ModuleNotFoundError:
            raise _missing_accelerate() from None
        self._accelerator = Accelerator(cpu=kind == CPU, mixed_precision=_PRECISIONS[precision])
        self.device = self._accelerator.device
        self.index, self.processes = self._accelerator.process_index, self._accelerator.num_processes
        torch.backends.cudnn.benchmark = True  # shapes are equal in all steps except the last of an epoch

    def prepare(self, net: EarlyExitNet, optimizer: torch.optim.Optimizer) -> tuple[Run, torch.optim.Optimizer]:
        """Prepare as `CpuDevice.prepare` does; gradients are averaged over the processes."""
        module, prepared = self._accelerator.prepare(_StepModule(net), optimizer)
        return lambda inputs: ExitOutputs(*module(inputs)), prepared

    def home(self, size: int) -> torch.device:
        """Return the GPU if most of its memory stays free, which makes augmentation fast; else the processor."""
        if self.device.type != "cuda":
            return torch.device(CPU)
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.device if size <= free * _EXAMPLES_SHARE else torch.device(CPU)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Return an empty context: the prepared module has its own."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of `loss`, with the scaling that fp16 needs."""
        self._accelerator.backward(loss)

    def mean(self, loss: Tensor) -> float:
        """Return the mean over all processes, so that all of them stop where one diverges."""
        return float(self._accelerator.reduce(loss.detach(), reduction="mean").item())

    def close(self) -> None:
        """Leave the group of processes."""
        self._accelerator.wait_for_everyone()
        # Gloo's threads need the interpreter's lock to release their last tensors. The end of the group waits for these
        # threads and holds that lock (github.com/pytorch/pytorch/issues/56297). The sleep releases it.
        time.sleep(_RELEASE_SECONDS)
        self._accelerator.end_training()


class _StepModule(nn.Module):
    """Network whose forward returns everything that a step needs: gradients of several processes need one call."""

    def __init__(self, net: EarlyExitNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...], tuple[Tensor, ...]]:
        outputs = self.net.forward_outputs(inputs)
        return outputs.logits, outputs.learned, outputs.own


def find_torch_device(name: str) -> torch.device:
    """Return the device called `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: there is no such kind of device.
        MissingError: this machine has no such device.
    """
    kind, colon, number = name.partition(":")
    if kind not in _KINDS or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"unknown torch device {name!r}", "Known: cpu, cuda, cuda:1, …, mps.")
    available = torch.backends.mps.is_available() if kind == "mps" else kind == CPU
    if not (available or (kind == "cuda" and torch.cuda.device_count() > int(number or 0))):
        raise MissingError(f"there is no torch device {name!r} here", "Give --torch-device cpu.")
    return torch.device(name)


def check_device(settings: TrainingSettings) -> None:
    """Check before anything is read what `open_device` needs; raises the same errors."""
    device = find_torch_device(settings.torch_device)
    if device.type == CPU and settings.precision == "fp16":
        raise UsageError("processors do not train in fp16", "Give --mixed-precision bf16.")
    if (device.type != CPU or _is_one_of_several()) and find_spec("accelerate") is None:
        raise _missing_accelerate()


def _is_one_of_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _missing_accelerate() -> MissingError:
    return MissingError("the package accelerate is not installed, which trains on GPUs", "pip install 'eetool[gpu]'")


def open_device(settings: TrainingSettings) -> CpuDevice:
    """Return the device of `settings`; one process of several where torchrun started it.

    Raises:
        UsageError: there is no such kind of device, or it does not support the precision.
        MissingError: this machine has no such device, or accelerate is not installed.
    """
    check_device(settings)
    device = find_torch_device(settings.torch_device)
    if device.type == CPU and not _is_one_of_several():
        return CpuDevice(settings.precision)
    if device.index is not None:
        torch.cuda.set_device(device)
    return AcceleratedDevice(device.type, settings.precision)
