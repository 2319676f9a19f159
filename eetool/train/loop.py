"""The one training loop: seeded, resumable, and the same numbers whether or not it was interrupted."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eetool.data.augment import augment
from eetool.errors import DivergedError, UsageError
from eetool.model.checkpoint import Training, load_tensors, serialise
from eetool.model.early_exit import EarlyExitNet
from eetool.progress import SILENT, Progress
from eetool.records import write_atomic
from eetool.train.recipes import RECIPES

RESUME_FORMAT = "eetool-resume/1"
_WARM_UP = 0.15  # share of the steps in which the learning rate rises
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Examples:
    """Training examples: uint8 (N, C, H, W) with int64 labels (N,), and the mean and std (C,) of pixels in [0, 1]."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    mirror: bool

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) to float32 of the same shape, as the runtime's preprocessing does."""
        return (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]


def train(
    net: EarlyExitNet,
    examples: Examples,
    settings: Training,
    state_file: Path,
    resume: bool,
    progress: Progress = SILENT,
) -> float:
    """Train `net` in place and return the mean loss of the last epoch.

    After every epoch the whole state goes to `state_file`, atomically; `resume` goes on from there and ends with the
    same weights as a run that was never interrupted. The file is removed at the end.

    Raises:
        DivergedError: the loss is NaN or infinite; `state_file` keeps the last good epoch.
        UsageError: `resume` with another network or other settings than those of the interrupted run.
        ArtefactError: `state_file` is damaged.
    """
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=_MOMENTUM, nesterov=True, weight_decay=_WEIGHT_DECAY)
    run = {"settings": vars(settings), "taps": list(net.taps), "examples": len(examples.labels)}
    if not resume:
        state_file.unlink(missing_ok=True)
    first = _restore(state_file, net, optimizer, run) if resume else 0
    steps = math.ceil(len(examples.labels) / settings.batch_size)
    loss = math.nan
    with progress("training", settings.epochs * steps) as advance:
        advance(first * steps)
        for epoch in range(first, settings.epochs):
            loss = _epoch(net, optimizer, examples, settings, epoch, advance)
            state = {"format": RESUME_FORMAT, "run": run, "epoch": epoch + 1}
            tensors = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
            write_atomic(state_file, serialise({**state, **tensors}))
    net.eval()
    state_file.unlink(missing_ok=True)
    return loss


def _epoch(
    net: EarlyExitNet, optimizer: torch.optim.SGD, examples: Examples, settings: Training, epoch: int, advance: Any
) -> float:
    """One pass over the examples, whose randomness depends on the seed and the epoch alone."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    torch.manual_seed(settings.seed * 1_000_003 + epoch)
    loss_of = RECIPES[settings.recipe]
    n = len(examples.labels)
    steps = math.ceil(n / settings.batch_size)
    net.train()
    total = 0.0
    for step, batch in enumerate(_batches(n, settings.batch_size, generator)):
        position = (epoch * steps + step) / (settings.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * one_cycle(position)
        images = augment(examples.normalise(examples.images[batch]), generator, examples.mirror)
        loss = loss_of(net(images), examples.labels[batch])
        if not math.isfinite(loss.item()):
            raise DivergedError(
                f"the loss became {loss.item()} in epoch {epoch + 1}, step {step + 1}",
                "Start anew with a lower --learning-rate.",
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(batch)
        advance(1)
    return total / n


def one_cycle(position: float) -> float:
    """Learning rate at `position` in [0, 1) of the run, as a share of its peak: a linear rise, then a half cosine."""
    if position < _WARM_UP:
        return 0.1 + 0.9 * position / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (position - _WARM_UP) / (1 - _WARM_UP)))


def _batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    yield from torch.split(torch.randperm(n, generator=generator), size)


def _restore(path: Path, net: EarlyExitNet, optimizer: torch.optim.SGD, run: dict[str, Any]) -> int:
    """Load the state of an interrupted run; returns the number of epochs that it finished."""
    if not path.exists():
        raise UsageError(f"there is nothing to resume: {path} does not exist", "Start without --resume.")
    stored = load_tensors(path, RESUME_FORMAT)
    if stored.get("run") != run:
        raise UsageError(
            f"the interrupted run in {path} had other settings: {stored.get('run')}", "Repeat them, or start anew."
        )
    try:
        net.load_state_dict(stored["net"])
        optimizer.load_state_dict(stored["optimizer"])
        return int(stored["epoch"])
    except (RuntimeError, ValueError, KeyError, TypeError):
        raise UsageError(f"the interrupted run in {path} trained another network", "Start without --resume.") from None
