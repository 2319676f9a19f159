"""Training loop: seeded and resumable, with the same weights whether or not it was interrupted."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eetool.data.augmentation import AugmentationDraw, augment, draw_augmentation
from eetool.errors import DivergedError, EarlyExitError, UsageError
from eetool.model.checkpoint import load_tensors, serialise
from eetool.model.early_exit import EarlyExitNet
from eetool.model.module_state import load_state
from eetool.model.spec import TrainingSettings
from eetool.model.user_code import user_code
from eetool.model.weight_values import check_values, find_invalid
from eetool.progress import SILENT, Progress
from eetool.records import encode, write_atomic
from eetool.train.divergence import FailedStep, LossRecord, divergence_error
from eetool.train.gradient_scaling import scale_tap_gradients
from eetool.train.losses import FROZEN, BatchTargets, ExitDepth, make_loss
from eetool.train.teacher import Teacher
from eetool.train.torch_devices import CpuDevice, open_device

RESUME_FORMAT = "eetool-resume/1"
_MOMENTUM = 0.9
_LONG_EPOCH_SECONDS = 10  # from this duration on every epoch is reported


@dataclass(frozen=True)
class TrainingExamples:
    """Training examples with int64 labels (N,).

    They are images uint8 (N, C, H, W), with the mean and std (C,) of pixels in [0, 1]; or finished inputs (N, …), which
    are neither augmented nor normalised.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor | None
    std: Tensor | None
    mirror: bool

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, C, H, W) as float32, normalised as in the runtime's preprocessing."""
        if self.mean is None or self.std is None:
            return images
        return (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]

    @property
    def device(self) -> torch.device:
        """Torch device that stores them."""
        return self.images.device

    def to(self, device: torch.device) -> "TrainingExamples":
        """Return the examples on another torch device."""
        mean, std = (None if x is None else x.to(device) for x in (self.mean, self.std))
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), mean=mean, std=std)

    def at_epoch(self, epoch: int) -> "TrainingExamples":
        """Return the version of the examples that an epoch uses: the same in all epochs."""
        return self

    def batch(self, chosen: Tensor, draw: AugmentationDraw) -> Tensor:
        """Return the examples `chosen` (n,); images are augmented by their part of `draw`."""
        images = self.images.index_select(0, chosen)
        return images if self.mean is None else augment(images, draw[chosen])


def run_training(
    net: EarlyExitNet,
    examples: TrainingExamples,
    settings: TrainingSettings,
    state_file: Path,
    resume: bool,
    progress: Progress = SILENT,
    depths: Sequence[ExitDepth] | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Train `net` in place.

    After every epoch the whole state is written to `state_file`, atomically. `resume` continues from there and gives
    the same weights as an uninterrupted run. The file is removed at the end.

    Args:
        net: the network.
        examples: training examples.
        settings: recipe and hyperparameters.
        state_file: file of the state.
        resume: continue an interrupted run.
        progress: observer.
        depths: MACs of every exit, for recipes that need them.
        teacher: teacher of a distillation.

    Raises:
        DivergedError: the loss is NaN or infinite after finite steps; `state_file` keeps the last good epoch.
        UsageError: `resume` with another network or other settings than those of the interrupted run; or the network
            itself, or the precision, is the cause of NaN.
        ArtefactError: `state_file` is damaged; or the data are the cause of NaN.
    """
    engine = open_device(settings)
    progress = progress if engine.is_main else SILENT
    run = _Run(
        net, examples, settings, depths or [ExitDepth(1.0, 1.0)] * (len(net.taps) + 1), teacher, progress, engine
    )
    if not resume and engine.is_main:
        state_file.unlink(missing_ok=True)
    first = run.restore(state_file) if resume else 0
    with progress("training", settings.epochs * run.steps) as advance, _kept(state_file):
        advance(first * run.steps)
        for epoch in range(first, settings.epochs):
            run.epoch(epoch, advance)
            if engine.is_main:
                write_atomic(state_file, serialise(run.state(epoch + 1)), force=resume or epoch > first)
    run.finish()
    if not engine.is_main:
        raise SystemExit(0)  # only the first process continues
    state_file.unlink(missing_ok=True)


@contextmanager
def _kept(state_file: Path) -> Iterator[None]:
    """Add the kept state file to the hint of a DivergedError, if a whole epoch was completed."""
    try:
        yield
    except DivergedError as error:
        if not state_file.exists():
            raise
        hint = f"The last whole epoch is kept: --weights {state_file} begins from it, with a lower --learning-rate."
        raise DivergedError(error.message, hint) from None


class _Run:
    """State of one training run."""

    def __init__(
        self,
        net: EarlyExitNet,
        examples: TrainingExamples,
        settings: TrainingSettings,
        depths: Sequence[ExitDepth],
        teacher: Teacher | None,
        progress: Progress,
        engine: CpuDevice,
    ) -> None:
        set_memory_format(net, torch.channels_last)  # 1/8 faster on processors without bf16
        self.net, self.settings = net, settings
        self.examples = examples.to(engine.home(examples.images.nbytes))
        self.teacher, self.progress, self.engine = teacher, progress, engine
        if teacher is not None:
            teacher.to(engine.device)
        self.loss = make_loss(settings.recipe, settings.loss, depths)
        self.frozen = settings.recipe in FROZEN
        if self.frozen:
            net.freeze_backbone(examples.normalise(examples.images[:2]))
        parameters = [p for p in net.parameters() if p.requires_grad]
        self.run, self.optimizer = engine.prepare(net, _optimizer(parameters, settings))
        self.average = [x.clone() for x in _floats(net)] if settings.average else []
        self.steps = math.ceil(len(examples.labels) / settings.batch_size)
        self.losses = LossRecord()
        self._last: tuple[Tensor, BatchTargets] | None = None  # batch of the last step
        self.header = {"settings": encode(settings), "taps": list(net.taps), "examples": len(examples.labels)}

    def epoch(self, epoch: int, advance: Any) -> None:
        """Run one pass over the examples. Its randomness depends on the seed and the epoch alone."""
        settings, examples = self.settings, self.examples.at_epoch(epoch)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(examples.labels), generator=generator)
        views = settings.loss.teacher_views
        if views:  # the teacher's logits for this version of the examples are cached
            generator.manual_seed(settings.seed * 1_000_003 + epoch % views)
        draw = draw_augmentation(examples.images, generator, examples.mirror, settings.erase).to(examples.device)
        if self.frozen:
            self.net.train_exits()
        else:
            self.net.train()
        tally = _Tally(len(self.net.taps) + 1)
        for step, chosen in enumerate(torch.split(order.to(examples.device), settings.batch_size)):
            chosen = self.engine.share(chosen)
            # A rest of one, in each process: batch normalisation needs two examples.
            if len(chosen) == 1 < settings.batch_size / self.engine.processes:
                advance(1)
                continue
            images = examples.batch(chosen, draw)
            teacher_logits = self.teacher(images, chosen, epoch) if self.teacher else None
            position = (epoch * self.steps + step) / (settings.epochs * self.steps)
            targets = BatchTargets(examples.labels[chosen], position, teacher_logits)
            self._step(examples.normalise(images), targets, f"epoch {epoch + 1}, step {step + 1}", tally)
            advance(1)
        if self._last is not None and find_invalid(self.net.state_dict()) is not None:
            raise self._divergence(f"weights are no longer finite after epoch {epoch + 1}", *self._last)
        if tally.seconds > _LONG_EPOCH_SECONDS:
            self.progress.note(f"epoch {epoch + 1} of {settings.epochs}: {tally}")

    def _step(self, inputs: Tensor, targets: BatchTargets, where: str, tally: "_Tally") -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * one_cycle(targets.position, self.settings.warm_up)
        even = scale_tap_gradients(self.net) if self.settings.loss.gradient_scaling else nullcontext()
        inputs, targets = inputs.to(self.engine.device), targets.to(self.engine.device)
        with self.engine.arithmetic(), even:
            if inputs.ndim == 4:
                inputs = inputs.contiguous(memory_format=torch.channels_last)  # (N, C, H, W), in another order
            outputs = self.run(inputs)
        logits = [x.float() for x in outputs.logits]
        learned = [x.float() for x in outputs.learned if x is not None]
        loss = self.loss([x.float() for x in outputs.own], learned, targets)
        if self.net.ensembles:  # trains the weights of the ensembles alone: the exits' own outputs are detached
            loss = loss + self.loss([logits[0].detach(), *logits[1:-1], logits[-1].detach()], (), targets)
        value = self.engine.mean(loss)
        if not math.isfinite(value):
            raise self._divergence(f"the loss became {value} in {where}", inputs, targets)
        self.losses.add(value)
        self._last = inputs, targets
        self.optimizer.zero_grad(set_to_none=True)
        with user_code("the network's backward pass", self.net.backbone):
            self.engine.backward(loss)
        self.optimizer.step()
        if self.average:
            done = targets.position * self.settings.epochs * self.steps
            decay = min(self.settings.average, (1 + done) / (10 + done))  # low at first, to drop the initial weights
            torch._foreach_lerp_(self.average, _floats(self.net), 1 - decay)
        tally.add(value, logits, targets.labels)

    def _divergence(self, what: str, inputs: Tensor, targets: BatchTargets) -> EarlyExitError:
        """Return the error that names why the step of this batch is not finite."""

        def run() -> object:
            with self.engine.arithmetic():
                return self.run(inputs)

        classes, precision = int(self.examples.labels.max()) + 1, self.settings.precision
        in_fp32 = partial(self.net.forward_outputs, inputs)
        return divergence_error(
            self.net, FailedStep(what, inputs, classes, run, in_fp32, targets.teacher, precision), self.losses
        )

    def state(self, epochs: int) -> dict[str, Any]:
        """Return everything that is needed to continue after `epochs` epochs."""
        head = {"format": RESUME_FORMAT, "run": self.header, "epoch": epochs}
        tensors = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average}
        return {**head, **tensors}

    def restore(self, path: Path) -> int:
        """Load the state of an interrupted run, and return the number of epochs that it completed."""
        if not path.exists():
            raise UsageError(f"there is nothing to resume: {path} does not exist", "Start without --resume.")
        stored = load_tensors(path, RESUME_FORMAT)
        if stored.get("run") != self.header:
            raise UsageError(
                f"the interrupted run in {path} had other settings: {stored.get('run')}", "Repeat them, or start anew."
            )
        try:
            check_values({**stored["net"], **_numbered(stored["average"])}, str(path), "Start without --resume.")
            load_state(self.net, stored["net"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.average = [x.to(self.engine.device) for x in stored["average"]]
            return int(stored["epoch"])
        except (AttributeError, RuntimeError, ValueError, KeyError, TypeError):
            raise UsageError(
                f"the interrupted run in {path} trained another network", "Start without --resume."
            ) from None

    def finish(self) -> None:
        """Leave the network in eval mode on this processor, with averaged weights if the settings have them."""
        self.engine.close()
        if self.average and self.settings.epochs:
            torch._foreach_copy_(_floats(self.net), self.average)
        self.net.to("cpu")
        set_memory_format(self.net, torch.contiguous_format)
        self.net.requires_grad_(True)
        self.net.eval()


class _Tally:
    """Figures of an epoch: mean loss, and the training accuracy of every exit."""

    def __init__(self, exits: int) -> None:
        self._start, self._n, self._loss = time.monotonic(), 0, 0.0
        self._right = torch.zeros(exits, dtype=torch.int64)

    def add(self, loss: float, logits: Sequence[Tensor], labels: Tensor) -> None:
        self._n += len(labels)
        self._loss += loss * len(labels)
        right = torch.stack([(x.argmax(1) == labels).sum() for x in logits])
        self._right = self._right.to(right.device) + right  # no synchronisation with a GPU

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def __str__(self) -> str:
        right = " / ".join(f"{100 * r / self._n:.1f}" for r in self._right.tolist())
        return f"loss {self._loss / self._n:.3f}, training accuracy {right} %, {self.seconds:.0f} s"


def one_cycle(position: float, warm_up: float = 0.15) -> float:
    """Return the learning rate at `position` in [0, 1) of the run, as a share of its peak: linear rise, half cosine."""
    if position < warm_up:
        return 0.1 + 0.9 * position / warm_up
    return 0.5 * (1 + math.cos(math.pi * (position - warm_up) / (1 - warm_up)))


def _optimizer(parameters: list[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer. Its learning rate is set before every step."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=settings.weight_decay)
    return torch.optim.SGD(parameters, lr=0.0, momentum=_MOMENTUM, nesterov=True, weight_decay=settings.weight_decay)


def _floats(net: nn.Module) -> list[Tensor]:
    """Return weights and running statistics, which are averaged; counters are not."""
    return [x for x in net.state_dict().values() if x.is_floating_point()]


def _numbered(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"average {index}": x for index, x in enumerate(tensors)}


def set_memory_format(net: nn.Module, order: torch.memory_format) -> None:
    """Set the memory format of a network's weights; processors convolve faster with channels last."""
    net.to(memory_format=order)  # type: ignore[call-overload]  # torch's own stubs leave this form out
