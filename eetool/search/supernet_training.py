"""Training of a supernet: the sandwich rule, in-place distillation, and progressive shrinking; seeded and resumable.

Every step trains the largest network on the labels. The smallest and a few random networks are trained on the
predictions of the largest (universally slimmable networks, arXiv 1903.05134). In the first third of the run, random
networks differ only in kernels, then also in depths, then in everything (the order of Once-for-All, arXiv 1908.09791).

A linear exit at the end of every stage is trained as well (deep supervision, arXiv 1409.5185) and discarded
afterwards. Without it, features would serve the last layer only and be of little use to branches. Candidates would
then differ from the networks that full training, which is joint, produces.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.model.branches import pool_positions
from eetool.model.checkpoint import load_tensors, serialise
from eetool.model.early_exit import capture_outputs
from eetool.model.memory_format import set_memory_format
from eetool.model.references.resolve import build
from eetool.model.supernet import Supernet
from eetool.model.tap_layouts import choose_layouts, find_layouts
from eetool.model.weight_values import check_values, find_invalid
from eetool.progress import SILENT, Progress
from eetool.records import write_atomic
from eetool.search.evaluation.splits import SearchData
from eetool.search.space.space import Genome, Space, genome_key
from eetool.train.divergence import FailedStep, LossRecord, divergence_error
from eetool.train.training_loop import one_cycle

FORMAT, RESUME_FORMAT = "eetool-supernet/1", "eetool-supernet-resume/2"
_RANDOM_NETWORKS = 2  # per step, beside the largest and the smallest
_SHAPES = 512  # built networks that are cached
_MOMENTUM, _WEIGHT_DECAY, _CLIP = 0.9, 1e-4, 5.0


@dataclass(frozen=True)
class SupernetTraining:
    """Settings of the training of a supernet.

    Attributes:
        epochs: passes over the training examples.
        batch_size: examples per step.
        learning_rate: largest value of the schedule.
        seed: of all randomness.
        exit_weight: weight of the loss at the end of each stage; that of the last layer is 1.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    seed: int = 0
    exit_weight: float = 0.3


def train_supernet(
    supernet: Supernet,
    space: Space,
    data: SearchData,
    settings: SupernetTraining,
    state_file: Path,
    resume: bool = False,
    progress: Progress = SILENT,
    device: torch.device | None = None,
) -> None:
    """Train a supernet in place.

    The state is written to `state_file` after every epoch and removed at the end. A resumed run gives the same weights
    as an uninterrupted one.

    Args:
        supernet: its weights are changed.
        space: space whose networks share them.
        data: examples.
        settings: settings of the training.
        state_file: file of the state after the last complete epoch.
        resume: continue from `state_file` where it exists.
        progress: shows the steps.
        device: by default the CPU.

    Raises:
        EarlyExitError: the loss is not finite; the class tells the cause, see `eetool.train.divergence`.
        UsageError: `resume` with other settings, data or space.
        ArtefactError: `state_file` is damaged.
    """
    device = device or torch.device("cpu")
    set_memory_format(supernet, torch.channels_last)
    run = _TrainingRun(supernet.to(device), space, data, settings, device)
    first = run.restore(state_file) if resume and state_file.exists() else 0
    with progress("training the supernet", settings.epochs * run.steps) as advance:
        advance(first * run.steps)
        for epoch in range(first, settings.epochs):
            run.train_epoch(epoch, advance)
            write_atomic(state_file, serialise(run.state(epoch + 1)), force=True)  # workers of one study write the same
    set_memory_format(supernet.to("cpu").eval(), torch.contiguous_format)
    state_file.unlink(missing_ok=True)


class _LinearExits(nn.Module):
    """A linear exit after the mean over positions at the end of every stage of a space.

    One at every block would cost little, but their losses would outweigh that of the last layer. Smaller networks use
    the leading channels of an exit, and have the same layouts.
    """

    def __init__(self, supernet: Supernet, space: Space, images: Tensor, classes: int) -> None:
        super().__init__()
        self.space = space
        taps = _end_taps(space, space.largest())
        found = find_layouts(supernet.network.eval(), (images,), tuple(taps.values())) if taps else {}
        layouts = choose_layouts({tap: found[tap] for tap in taps.values()}, (), hint=False)
        self.layouts = dict(zip(taps, layouts, strict=True))
        widths = {end: found[tap].shape[self.layouts[end].index("C")] for end, tap in taps.items()}
        self.heads = nn.ModuleDict({str(end): nn.Linear(width, classes) for end, width in widths.items()})

    def taps(self, genome: Genome) -> dict[int, str]:
        """Return the taps of a genome's network that have a linear exit, by the index of the stage."""
        return {end: tap for end, tap in _end_taps(self.space, genome).items() if end in self.layouts}

    def loss(self, features: Mapping[int, Tensor], target: Tensor) -> Tensor:
        """Return the sum of losses over stages, from the features at the end of each."""
        losses = [functional.cross_entropy(self._logits(end, x), target) for end, x in features.items()]
        return sum(losses, target.new_zeros(()))

    def _logits(self, end: int, features: Tensor) -> Tensor:
        return _classify(self.heads[str(end)], pool_positions(features, self.layouts[end]))


def _end_taps(space: Space, genome: Genome) -> dict[int, str]:
    """Return the deepest tap at the end of every stage, by its index; a stage without a tap is left out."""
    return {end: taps[0] for end, taps in enumerate(space.backbone(genome).end_sites) if taps}


def _classify(head: nn.Module, mean: Tensor) -> Tensor:
    weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
    return functional.linear(mean, weight[:, : mean.shape[1]], bias)


class _TrainingRun:
    """State of one training run."""

    def __init__(
        self, supernet: Supernet, space: Space, data: SearchData, settings: SupernetTraining, device: torch.device
    ) -> None:
        self.supernet, self.space, self.data, self.settings, self.device = supernet, space, data, settings, device
        self.examples = data.training.to(device)
        self.backbones = space.backbones
        example = self.examples.normalise(self.examples.images[:1])
        self.exits = _LinearExits(supernet, self.backbones, example, len(data.classes)).to(device)
        self.parameters = [*supernet.parameters(), *self.exits.parameters()]
        decay = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": _WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=_MOMENTUM, nesterov=True)
        self.steps = math.ceil(len(data.training.labels) / settings.batch_size)
        header = [space.backbones.hash, data.name, len(data.training.labels), settings.epochs, settings.batch_size]
        self.header = json.dumps([*header, settings.learning_rate, settings.seed, settings.exit_weight])
        self._shapes: dict[str, nn.Module] = {}
        self._losses = LossRecord()

    def train_epoch(self, epoch: int, advance: Any) -> None:
        """Train for one epoch; its randomness depends only on the seed and the epoch."""
        examples, settings = self.examples, self.settings
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        rng = np.random.default_rng([settings.seed, epoch])
        order = torch.randperm(len(examples.labels), generator=generator)
        augmentation = examples.draw(generator)
        self.supernet.train()
        last = None
        for step, chosen in enumerate(torch.split(order.to(self.device), settings.batch_size)):
            position = (epoch * self.steps + step) / (settings.epochs * self.steps)
            if len(chosen) > 1:  # batch normalisation needs two
                images = examples.normalise(examples.batch(chosen, augmentation))
                self._step(images, examples.labels[chosen], position, rng)
                last = images
            advance(1)
        if last is not None and find_invalid(self.supernet.state_dict()) is not None:
            raise self._divergence(f"weights of the supernet are no longer finite after epoch {epoch + 1}", last)

    def _step(self, images: Tensor, labels: Tensor, position: float, rng: np.random.Generator) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * one_cycle(position)
        logits, loss = self._forward(self.supernet.network, self.backbones.largest(), images, labels)
        if not math.isfinite(loss.item()):
            raise self._divergence(f"the loss of the supernet became {loss.item()}", images)
        self._losses.add(loss.item())
        self.optimizer.zero_grad(set_to_none=True)  # not before: they show a gradient that was not finite
        loss.backward()  # type: ignore[no-untyped-call]
        target = torch.softmax(logits.detach(), 1)
        for genome in (self._smallest(position), *(self._random(position, rng) for _ in range(_RANDOM_NETWORKS))):
            self._forward(self._shape(genome), genome, images, target)[1].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP)
        self.optimizer.step()

    def _divergence(self, what: str, images: Tensor) -> EarlyExitError:
        """Return the error that names why a step or an epoch is not finite."""
        run = partial(self.supernet.run, self.supernet.network, images)
        step = FailedStep(what, images, len(self.data.classes), run, run)
        return divergence_error(self.supernet, step, self._losses)

    def _forward(self, shape: nn.Module, genome: Genome, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, classes) of a genome's network, and its loss with that of the exits."""
        taps = self.exits.taps(genome)
        with capture_outputs(shape, tuple(taps.values())) as features:
            logits = self.supernet.run(shape, images)
        at_ends = self.exits.loss({end: features[tap] for end, tap in taps.items()}, target)
        return logits, functional.cross_entropy(logits, target) + self.settings.exit_weight * at_ends

    def _shape(self, genome: Genome) -> nn.Module:
        """Return the backbone of a genome without memory for weights; it runs with those of the supernet.

        It is cached: building one takes a tenth of a step, and every step uses the smallest.
        """
        key = genome_key(genome)
        if key not in self._shapes:
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            backbone = self.space.backbone(genome)
            with torch.device("meta"):
                network = build(backbone.reference, self.data.inputs, len(self.data.classes), backbone.config)
            self._shapes[key] = network.train()
        return self._shapes[key]

    def _allowed(self, position: float) -> Space:
        """Return the space in which genes of later phases have only their largest choice."""
        phases = 1 + max((gene.phase for gene in self.backbones.genes), default=0)
        late = {g.name: g.choices[-1:] for g in self.backbones.genes if g.phase > position * phases}
        return self.backbones.only(late)

    def _random(self, position: float, rng: np.random.Generator) -> Genome:
        return self._allowed(position).sample(rng)

    def _smallest(self, position: float) -> Genome:
        return self._allowed(position).smallest()

    def state(self, epochs: int) -> dict[str, Any]:
        """Return the state from which training continues after `epochs` epochs."""
        weights = {"net": self.supernet.state_dict(), "exits": self.exits.state_dict()}
        header = {"format": RESUME_FORMAT, "run": self.header, "epoch": epochs}
        return {**header, **weights, "optimizer": self.optimizer.state_dict()}

    def restore(self, path: Path) -> int:
        """Load the state of an interrupted run; return the number of its finished epochs."""
        stored = load_tensors(path, RESUME_FORMAT)
        if stored.get("run") != self.header:
            raise UsageError(
                f"{path} holds an interrupted supernet of other settings, data or space", "Repeat them, or remove it."
            )
        check_values(stored["net"], str(path), "Remove it; the supernet is then trained from the start.")
        self.supernet.load_state_dict(stored["net"])
        self.exits.load_state_dict(stored["exits"])
        self.optimizer.load_state_dict(stored["optimizer"])
        return int(stored["epoch"])


def save_supernet(
    path: Path, supernet: Supernet, space: Space, data: SearchData, settings: SupernetTraining | None
) -> None:
    """Write a supernet atomically; the same supernet gives the same bytes."""
    record = {"space": space.backbones.hash, "data": data.name, "classes": len(data.classes)}
    training = vars(settings) if settings is not None else None
    text = json.dumps({**record, "training": training})
    write_atomic(path, serialise({"format": FORMAT, "record": text, "state": supernet.state_dict()}))


def load_supernet(path: Path, supernet: Supernet, space: Space, data: SearchData) -> None:
    """Load weights from a file; raise ArtefactError where it is not a supernet of this space and data."""
    stored = load_tensors(path, FORMAT)
    try:
        record = json.loads(stored["record"])
        stored_record = [record[name] for name in ("space", "data", "classes")]
    except (KeyError, TypeError, ValueError):
        raise ArtefactError(f"{path}: its record is damaged", "Remove it; it is then trained again.") from None
    if stored_record != [space.backbones.hash, data.name, len(data.classes)]:
        raise ArtefactError(
            f"{path} is a supernet of another space or of other data", "Name another file with --supernet."
        )
    try:
        check_values(stored["state"], str(path), "Remove it; it is then trained again.")
        supernet.load_state_dict(stored["state"])
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ArtefactError(f"{path}: its tensors do not fit the space: {error}", "Name another file.") from None
    supernet.eval()
