"""Training of exits on stored features of their frozen backbone: what the training loop runs in place of the network.

The loop has one tensor of inputs. Here it holds, for every example, the features of all parts side by side.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eetool.data.augmentation import NO_AUGMENTATION, AugmentationDraw
from eetool.errors import UsageError
from eetool.model.branches import Branch
from eetool.model.early_exit import EarlyExitNet, ExitOutputs
from eetool.model.spec import TrainingSettings
from eetool.progress import SILENT, Progress
from eetool.train.feature_files import FeatureRows, PartShape, features_folder, is_writable, limit_bytes
from eetool.train.losses import FROZEN
from eetool.train.tap_features import backbone_digest, part_shapes, parts_of, size_bytes, tap_features
from eetool.train.torch_devices import CPU
from eetool.train.training_examples import TrainingExamples, ValidationExamples
from eetool.wording import counted

AUTOMATIC = -1  # number of versions of the data that a run keeps features of, chosen here
_MOST_VIEWS = 4  # more bring no accuracy: docs/decisions/0044
_LARGEST_SHARE = 0.5  # of the limit of the cache, for one run


class StoredFeaturesNet(EarlyExitNet):
    """The same network, whose forward pass begins at the stored features of its taps.

    It shares the modules of `net`, so that training it trains `net`.

    Args:
        net: the network.
        shapes: parts of each input, as `tap_features.parts_of` lists them.
    """

    def __init__(self, net: EarlyExitNet, shapes: Sequence[PartShape]) -> None:
        super().__init__(net.backbone, net.branches, list(net.ensembles))
        self._shapes = tuple(shapes)

    def forward_outputs(self, *inputs: Tensor) -> ExitOutputs:
        """Return all outputs, from features (N, values) of all parts."""
        (packed,) = inputs
        parts = torch.split(packed, [shape.width for shape in self._shapes], 1)
        *reduced, final = (x.reshape(-1, *s.shape) for x, s in zip(parts, self._shapes, strict=True))
        return self.forward_exits(reduced, final, from_reduced=True)


@dataclass(frozen=True)
class StoredExamples(TrainingExamples):
    """Training examples as stored features: `views` versions of them, of which epoch e uses number e mod views."""

    views: tuple[tuple[FeatureRows, ...], ...] = ()
    view: int = 0

    def at_epoch(self, epoch: int) -> "StoredExamples":
        """Return the version of the examples that an epoch uses."""
        return replace(self, view=epoch % len(self.views))

    def to(self, device: torch.device) -> "StoredExamples":
        """Return the examples themselves: they are read from files, a batch at a time."""
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Return `images`: features are of normalised images."""
        return images

    def batch(self, chosen: Tensor, draw: AugmentationDraw) -> Tensor:
        """Return the features (n, values) of all parts of the examples `chosen` (n,)."""
        return self.inputs(chosen)

    def inputs(self, chosen: Tensor) -> Tensor:
        """Return the features (n, values) of all parts of the examples `chosen` (n,)."""
        rows = [torch.from_numpy(part[chosen.numpy()]) for part in self.views[self.view]]
        return torch.cat(rows, 1)


@dataclass(frozen=True)
class StoredValidation(ValidationExamples):
    """Validation examples as stored features."""

    rows: tuple[FeatureRows, ...] = ()

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the features (n, values) of all parts and labels (n,), at most `size` at a time."""
        for chosen in torch.split(torch.arange(len(self.examples.labels)), size):
            inputs = torch.cat([torch.from_numpy(part[chosen.numpy()]) for part in self.rows], 1)
            yield inputs.to(device), self.examples.labels[chosen].to(device)


class ExamplesView:
    """One version of training examples as model inputs: as they are, or augmented as a training epoch is.

    Args:
        examples: the examples.
        identity: `examples_digest` of them.
        seed: seed of the augmentation; None for the examples as they are.
    """

    def __init__(self, examples: TrainingExamples, identity: str, seed: int | None) -> None:
        self._examples, self._identity = examples, identity
        self._draw: AugmentationDraw | None = None
        self._what = f"seed {seed}, {examples.augmentation!r}" if seed is not None else "as they are"
        if seed is not None:
            self._draw = examples.draw(torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self._examples.labels)

    def __getitem__(self, rows: slice | np.ndarray) -> Tensor:
        """Return model inputs (n, …) of these examples."""
        chosen = torch.arange(len(self))[rows]
        if self._draw is None:
            return self._examples.inputs(chosen)
        return self._examples.normalise(self._examples.batch(chosen, self._draw))

    @property
    def digest(self) -> str:
        """Hash of the examples, their normalisation and this augmentation."""
        return f"{self._identity} {self._what}"


def examples_digest(examples: TrainingExamples) -> str:
    """Return a hash of images and their normalisation."""
    images, digest = examples.images, hashlib.sha256()
    digest.update(f"{images.dtype} {tuple(images.shape)}".encode())
    for start in range(0, len(images), 1024):
        digest.update(images[start : start + 1024].contiguous().numpy().data)
    for statistics in (examples.mean, examples.std):
        digest.update(b"" if statistics is None else statistics.numpy().tobytes())
    return digest.hexdigest()


def choose_views(
    net: EarlyExitNet, examples: TrainingExamples, settings: TrainingSettings, progress: Progress = SILENT
) -> TrainingSettings:
    """Return the settings with the number of versions of the data whose features the run keeps.

    It is 0, so that every epoch runs the backbone, where features do not stand for the images, and by default also
    where a run has one epoch, or the cache is too small or cannot be written.

    Raises:
        UsageError: versions were asked for, and features do not stand for the images.
    """
    obstacle = _obstacle(net, examples, settings)
    if settings.feature_views > 0 and obstacle:
        raise UsageError(f"features cannot be kept: {obstacle}", "Leave --feature-views out: the backbone runs.")
    if settings.feature_views == 0 or obstacle:
        return replace(settings, feature_views=0)
    if settings.feature_views == AUTOMATIC and settings.epochs > 1 and not is_writable():
        progress.note(f"warning: features are not kept: {features_folder()} cannot be written (EETOOL_CACHE)")
        return replace(settings, feature_views=0)
    versions = settings.epochs if _is_augmented(examples) else 1
    asked = _MOST_VIEWS if settings.feature_views == AUTOMATIC else settings.feature_views
    if settings.feature_views == AUTOMATIC:
        shapes = part_shapes(net.eval(), parts_of(net), ExamplesView(examples, "", None)[:1])
        affordable = limit_bytes() * _LARGEST_SHARE // size_bytes(shapes, len(examples.labels))
        asked = 0 if settings.epochs < 2 else min(asked, int(affordable))
    return replace(settings, feature_views=min(asked, versions))


def store_features(
    net: EarlyExitNet,
    examples: TrainingExamples,
    validation: ValidationExamples,
    settings: TrainingSettings,
    progress: Progress = SILENT,
) -> tuple[EarlyExitNet, TrainingExamples, ValidationExamples]:
    """Return the network, and the examples to train and to validate it.

    Where `settings.feature_views` is not 0 they are stored features.

    Raises:
        ArtefactError, OutputError: see `tap_features`.
    """
    count = settings.feature_views
    if not count:
        return net, examples, validation
    identity, weights = examples_digest(examples), backbone_digest(net)
    seeds = view_seeds(settings.seed, count)
    views = [ExamplesView(examples, identity, seed) for seed in seeds]
    parts = parts_of(net)
    net.eval()
    shapes = part_shapes(net, parts, views[0][:1])
    size = count * size_bytes(shapes, len(examples.labels))
    taps = counted(len(net.taps), "tap")
    progress.note(
        f"features of {counted(len(examples.labels), 'example')} at {taps} are computed once"
        f"{f', in {count} versions' if count > 1 else ''}: {size / 1e6:.0f} MB in {features_folder()} "
        f"(limit {limit_bytes() / 1e9:g} GB)"
    )
    judged = ExamplesView(validation.examples, examples_digest(validation.examples), None)
    rows = [tuple(tap_features(net, parts, view, weights, progress, [*views, judged])) for view in (*views, judged)]
    placeholder = torch.zeros(1, dtype=torch.uint8).expand(len(examples.labels), *examples.images.shape[1:])
    stored = StoredExamples(placeholder, examples.labels, None, None, views=tuple(rows[:-1]))
    validated = StoredValidation(validation.split, validation.examples, rows[-1])
    return StoredFeaturesNet(net, shapes), stored, validated


def view_seeds(seed: int, count: int) -> list[int | None]:
    """Return the seed of each version of the data: the first is not augmented."""
    return [None, *(seed * 1_000_003 + version for version in range(1, count))]


def _obstacle(net: EarlyExitNet, examples: TrainingExamples, settings: TrainingSettings) -> str | None:
    """Return why features do not stand for the images of a run; None where they do."""
    if settings.recipe not in FROZEN:
        return f"the recipe {settings.recipe} trains the backbone"
    if settings.loss.teacher is not None:
        return "the teacher reads the images"
    if examples.augmentation.mixup:
        return "the augmentation mixes images"
    if settings.loss.gradient_scaling:
        return "--gradient-scaling needs the taps themselves"
    if settings.torch_device != CPU:
        return f"the backbone runs on {settings.torch_device}"
    if not net.branches or not all(isinstance(branch, Branch) for branch in net.branches.values()):
        return "the exits are the network's own"
    return None


def _is_augmented(examples: TrainingExamples) -> bool:
    return examples.mean is not None and examples.augmentation != NO_AUGMENTATION
