"""Where a step is computed: on this processor, as it always was, or by accelerate on GPUs, one or several.

The processor's way has no library in it, so that the same seed gives the same bytes whatever is installed.
docs/decisions/0015 says why accelerate.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import MissingError, UsageError
from eetool.model.checkpoint import TrainingSettings
from eetool.model.early_exit import EarlyExitNet, ExitOutputs

CPU = "cpu"
_KINDS = (CPU, "cuda", "mps")
_LETTING_GO_SECONDS = 0.5
_EXAMPLES_SHARE = 0.2  # of the free memory of a GPU
_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}

Run = Callable[[Tensor], ExitOutputs]


class CpuDevice:
    """This processor, in one process."""

    device = torch.device(CPU)
    index, processes = 0, 1

    def __init__(self, precision: str) -> None:
        self.precision = precision

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.index == 0

    def prepare(self, net: EarlyExitNet, optimizer: torch.optim.Optimizer) -> tuple[Run, torch.optim.Optimizer]:
        """What runs `net`, which is moved to the device, and the optimizer to step with."""
        return net.run, optimizer

    def home(self, size: int) -> torch.device:
        """Where `size` bytes of examples are kept while the network learns from them."""
        return torch.device(CPU)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """The block in which `net` runs."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")

    def share(self, chosen: Tensor) -> Tensor:
        """Of a batch, the examples that this process learns from; all processes get as many."""
        if self.processes == 1:
            return chosen
        missing = -len(chosen) % self.processes
        return torch.cat([chosen, chosen[:1].expand(missing)])[self.index :: self.processes]

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`."""
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, loss: Tensor) -> float:
        """The loss over all processes."""
        return float(loss.item())

    def close(self) -> None:
        """Training is over."""


class AcceleratedDevice(CpuDevice):
    """A GPU, or one of several processes that torchrun started, by accelerate."""

    def __init__(self, kind: str, precision: str) -> None:
        super().__init__(precision)
        try:
            from accelerate import Accelerator
        except ModuleNotFoundError:
            raise MissingError(
                "the package accelerate is not installed, which trains on GPUs", "pip install 'eetool[gpu]'"
            ) from None
        self._accelerator = Accelerator(cpu=kind == CPU, mixed_precision=_PRECISIONS[precision])
        self.device = self._accelerator.device
        self.index, self.processes = self._accelerator.process_index, self._accelerator.num_processes
        torch.backends.cudnn.benchmark = True  # shapes are the same in all steps but the last of an epoch

    def prepare(self, net: EarlyExitNet, optimizer: torch.optim.Optimizer) -> tuple[Run, torch.optim.Optimizer]:
        """See `CpuDevice.prepare`; gradients are averaged over the processes."""
        whole, prepared = self._accelerator.prepare(_Whole(net), optimizer)
        return lambda inputs: ExitOutputs(*whole(inputs)), prepared

    def home(self, size: int) -> torch.device:
        """With the network, where they leave it most of the memory: moving images then costs next to nothing."""
        if self.device.type != "cuda":
            return torch.device(CPU)
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.device if size <= free * _EXAMPLES_SHARE else torch.device(CPU)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """What was prepared brings its own."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """With the scaling that fp16 needs."""
        self._accelerator.backward(loss)

    def mean(self, loss: Tensor) -> float:
        """See `CpuDevice.mean`; so all processes stop where one diverges."""
        return float(self._accelerator.reduce(loss.detach(), reduction="mean").item())

    def close(self) -> None:
        """Leave the group of processes."""
        self._accelerator.wait_for_everyone()
        # Gloo's threads take the interpreter's lock to let go of their last tensors; the group's end waits for these
        # threads and holds that lock (github.com/pytorch/pytorch/issues/56297). Asleep we do not hold it.
        time.sleep(_LETTING_GO_SECONDS)
        self._accelerator.end_training()


class _Whole(nn.Module):
    """Everything that a step needs, as the one call that gradients of several processes are gathered behind."""

    def __init__(self, net: EarlyExitNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...], tuple[Tensor, ...]]:
        found = self.net.run(inputs)
        return found.logits, found.learned, found.own


def find_torch_device(name: str) -> torch.device:
    """The device called `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: there is no such kind of device.
        MissingError: it is not there.
    """
    kind, colon, number = name.partition(":")
    if kind not in _KINDS or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"unknown torch device {name!r}", "Known: cpu, cuda, cuda:1, …, mps.")
    there = torch.backends.mps.is_available() if kind == "mps" else kind == CPU
    if not (there or (kind == "cuda" and torch.cuda.device_count() > int(number or 0))):
        raise MissingError(f"there is no torch device {name!r} here", "--torch-device cpu always is.")
    return torch.device(name)


def open_device(settings: TrainingSettings) -> CpuDevice:
    """On the device that `settings` ask for; one process of several where torchrun started it.

    Raises:
        UsageError: there is no such kind of device, or it has no such arithmetic.
        MissingError: it is not there, or accelerate is not.
    """
    place = find_torch_device(settings.torch_device)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if place.type == CPU and settings.precision == "fp16":
        raise UsageError("processors do not train in fp16", "Give --mixed-precision bf16.")
    if place.type == CPU and not several:
        return CpuDevice(settings.precision)
    if place.index is not None:
        torch.cuda.set_device(place)
    return AcceleratedDevice(place.type, settings.precision)
