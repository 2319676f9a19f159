"""Training loop: seeded and resumable, with the same weights whether or not it was interrupted."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import DivergedError, EarlyExitError, UsageError
from eetool.model.checkpoint import load_tensors, serialise
from eetool.model.early_exit import EarlyExitNet
from eetool.model.history import TrainingHistory
from eetool.model.memory_format import choose_memory_format, in_memory_format, set_memory_format
from eetool.model.module_state import load_state
from eetool.model.spec import TrainingSettings
from eetool.model.user_code import user_code
from eetool.model.weight_values import check_values, find_invalid
from eetool.progress import SILENT, Progress
from eetool.records import encode, write_atomic
from eetool.train.divergence import FailedStep, LossRecord, divergence_error
from eetool.train.epoch_figures import EpochListener, TrainingTally
from eetool.train.gradient_scaling import scale_tap_gradients
from eetool.train.learning_curve import LearningCurve, averaged_tensors
from eetool.train.losses import FROZEN, BatchTargets, ExitDepth, make_loss
from eetool.train.run_identity import differences
from eetool.train.teacher import Teacher
from eetool.train.torch_devices import CpuDevice, open_device
from eetool.train.training_examples import TrainingExamples, ValidationExamples

RESUME_FORMAT = "eetool-resume/1"
_MOMENTUM = 0.9


def run_training(
    net: EarlyExitNet,
    examples: TrainingExamples,
    settings: TrainingSettings,
    state_file: Path,
    resume: bool,
    progress: Progress = SILENT,
    depths: Sequence[ExitDepth] | None = None,
    teacher: Teacher | None = None,
    validation: ValidationExamples | None = None,
    on_epoch: EpochListener | None = None,
    identity: Mapping[str, str] = MappingProxyType({}),
    has_weights: bool = False,
) -> TrainingHistory | None:
    """Train `net` in place, and return its learning curve; None without an epoch.

    After every epoch the whole state is written to `state_file`, atomically. `resume` continues from there and gives
    the same weights as an uninterrupted run. The file is removed at the end. The weights of the last epoch are kept, or
    those of the best by `settings.keep`.

    Args:
        net: the network.
        examples: training examples.
        settings: recipe and hyperparameters.
        state_file: file of the state.
        resume: continue an interrupted run.
        progress: observer.
        depths: MACs of every exit, for recipes that need them.
        teacher: teacher of a distillation.
        validation: examples for the learning curve and the choice of an epoch.
        on_epoch: receives the figures of every epoch.
        identity: of the network, its initial weights and the data, which `resume` compares.
        has_weights: the network was trained before. Then its weights at the start may be those that are kept, and a
            final exit that became worse is noted.

    Raises:
        DivergedError: the loss is NaN or infinite after finite steps; `state_file` keeps the last good epoch.
        UsageError: `resume` with another network, other data or other settings than those of the interrupted run; or
            the network itself, or the precision, is the cause of NaN.
        ArtefactError: `state_file` is damaged; or the data are the cause of NaN.
    """
    engine = open_device(settings)
    progress = progress if engine.is_main else SILENT
    run = _Run(
        net,
        examples,
        settings,
        depths or [ExitDepth(1.0, 1.0)] * (len(net.taps) + 1),
        teacher,
        engine,
        validation,
        identity,
    )
    if not resume and engine.is_main:
        state_file.unlink(missing_ok=True)
    first = run.restore(state_file) if resume else 0
    if has_weights and not resume and settings.epochs and engine.is_main:
        run.curve.begin()
    with progress("training", (settings.epochs - first) * len(examples.labels)) as advance, _kept(state_file):
        for epoch in range(first, settings.epochs):
            tally = run.epoch(epoch, advance)
            if engine.is_main:
                figures = run.curve.end_epoch(tally, run.average)
                if on_epoch is not None:
                    on_epoch(figures, tally.seconds)
                write_atomic(state_file, serialise(run.state(epoch + 1)), force=resume or epoch > first)
    run.finish()
    if not engine.is_main:
        raise SystemExit(0)  # only the first process continues
    state_file.unlink(missing_ok=True)
    if run.curve.harm:
        progress.note(f"warning: {run.curve.harm}")
    return run.curve.history


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
        engine: CpuDevice,
        validation: ValidationExamples | None,
        identity: Mapping[str, str],
    ) -> None:
        self.net, self.settings = net, settings
        self.examples = examples.to(engine.home(examples.images.nbytes))
        self.teacher, self.engine = teacher, engine
        if teacher is not None:
            teacher.to(engine.device)
        self.loss = make_loss(settings.recipe, settings.loss, depths)
        self.frozen = settings.recipe in FROZEN
        example = examples.inputs(torch.arange(min(2, len(examples.labels))))
        self.order = choose_memory_format(net, example)
        if self.frozen:
            net.freeze_backbone(example)
        parameters = [p for p in net.parameters() if p.requires_grad]
        self.run, self.optimizer = engine.prepare(net, _optimizer(parameters, settings))
        self.average = [x.clone() for x in averaged_tensors(net)] if settings.average else []
        self.steps = math.ceil(len(examples.labels) / settings.batch_size)
        self.losses = LossRecord()
        self.curve = LearningCurve(net, settings, validation, engine.device)
        self._last: tuple[Tensor, BatchTargets] | None = None  # batch of the last step
        own = {"settings": encode(settings), "taps": list(net.taps), "examples": len(examples.labels)}
        self.header = {**own, **identity}

    def epoch(self, epoch: int, advance: Any) -> TrainingTally:
        """Run one pass over the examples. Its randomness depends on the seed and the epoch alone."""
        settings, examples = self.settings, self.examples.at_epoch(epoch)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(examples.labels), generator=generator)
        views = settings.loss.teacher_views
        if views:  # the teacher's logits for this version of the examples are cached
            generator.manual_seed(settings.seed * 1_000_003 + epoch % views)
        draw = examples.draw(generator)
        if self.frozen:
            self.net.train_exits()
        else:
            self.net.train()
        tally = TrainingTally(len(self.net.taps) + 1)
        for step, chosen in enumerate(torch.split(order.to(examples.device), settings.batch_size)):
            count, chosen = len(chosen), self.engine.share(chosen)
            # A rest of one, in each process: batch normalisation needs two examples.
            if len(chosen) == 1 < settings.batch_size / self.engine.processes:
                advance(count)
                continue
            images = examples.batch(chosen, draw)
            targets = examples.targets(chosen, draw, (epoch * self.steps + step) / (settings.epochs * self.steps))
            if self.teacher:
                targets = replace(targets, teacher=self.teacher(images, chosen, epoch))
            self._step(examples.normalise(images), targets, f"epoch {epoch + 1}, step {step + 1}", tally)
            advance(count)
        if self._last is not None and find_invalid(self.net.state_dict()) is not None:
            raise self._divergence(f"weights are no longer finite after epoch {epoch + 1}", *self._last)
        return tally

    def _step(self, inputs: Tensor, targets: BatchTargets, where: str, tally: TrainingTally) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * one_cycle(targets.position, self.settings.warm_up)
        even = scale_tap_gradients(self.net) if self.settings.loss.gradient_scaling else nullcontext()
        inputs, targets = inputs.to(self.engine.device), targets.to(self.engine.device)
        with self.engine.arithmetic(), even:
            outputs = self.run(in_memory_format(inputs, self.order))
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
            torch._foreach_lerp_(self.average, averaged_tensors(self.net), 1 - decay)
        tally.add(value, logits, targets)

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
        return {**head, **tensors, "curve": self.curve.state()}

    def restore(self, path: Path) -> int:
        """Load the state of an interrupted run, and return the number of epochs that it completed."""
        if not path.exists():
            raise UsageError(f"there is nothing to resume: {path} does not exist", "Start without --resume.")
        stored = load_tensors(path, RESUME_FORMAT)
        if other := differences(stored.get("run"), self.header):
            raise UsageError(
                f"the interrupted run in {path} had other {'; other '.join(other)}", _repeat(stored.get("run"))
            )
        try:
            check_values({**stored["net"], **_numbered(stored["average"])}, str(path), "Start without --resume.")
            load_state(self.net, stored["net"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.average = [x.to(self.engine.device) for x in stored["average"]]
            self.curve.restore(stored["curve"], self.average, str(path))
            return int(stored["epoch"])
        except (AttributeError, RuntimeError, ValueError, KeyError, TypeError):
            raise UsageError(
                f"the interrupted run in {path} trained another network", "Start without --resume."
            ) from None

    def finish(self) -> None:
        """Leave the network in eval mode on this processor, with the weights of the epoch that is kept."""
        self.engine.close()
        if self.average and self.settings.epochs:
            torch._foreach_copy_(averaged_tensors(self.net), self.average)
        self.net.to("cpu")
        self.curve.load_kept()
        set_memory_format(self.net, torch.contiguous_format)
        self.net.requires_grad_(True)
        self.net.eval()


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


def _repeat(stored: Any) -> str:
    settings = stored.get("settings") if isinstance(stored, Mapping) else None
    return f"Repeat its options, or start anew with --force. Its settings were {settings}."


def _numbered(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"average {index}": x for index, x in enumerate(tensors)}
