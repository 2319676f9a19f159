"""Records of a checkpoint: the network, its training, its data and its policy."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eetool.model.goals import TuningGoals
from eetool.model.history import TrainingHistory
from eetool_runtime.manifest import LATER, Data, Input, OperatingPoint, StreamPoint

OWN = "own"  # in place of the layers of a branch
CASCADE = "cascade"  # in place of a backbone reference, where several networks make a cascade


@dataclass(frozen=True)
class ModelSpec:
    """Description from which a network is rebuilt: a backbone reference and the exits on it, from shallow to deep.

    Attributes:
        backbone: the reference, as in `eetool.model.references`, or `cascade`.
        inputs: the inputs of the backbone.
        labels: names of the classes.
        taps: dotted module name of the tap of each early exit, or `output NAME` for an exit of the network's own.
        branches: branch of each early exit, as `eetool.model.branches.BranchSpec` writes it, or `own`.
        config: configuration beside the reference's name, such as the differences of a transformers configuration
            from its defaults.
        learned_confidence: every early exit has a second head that gives its confidence.
        cascade: the classifier of an exit reads the probabilities of the exit before.
        ensemble: the logits of an exit are combined with the logits of the exit before.
        outputs: name of the backbone's output that holds the logits (`eetool.model.references.output_choice`); with own
            exits that of every exit, the final exit last. Empty where it returns one tensor, and in earlier files.
        layouts: order of the axes of the features at each tap, see `eetool.model.layouts`; empty in files of earlier
            versions, whose exits take it from sizes.
        members: the networks of a cascade, in running order; empty for one network. With `ensemble` each of their exits
            adds the final logits of the network before to its own.
    """

    backbone: str
    inputs: tuple[Input, ...]
    labels: tuple[str, ...]
    taps: tuple[str, ...]
    branches: tuple[str, ...]
    config: dict[str, Any] | None = None
    learned_confidence: bool = False
    cascade: bool = False
    ensemble: bool = False
    layouts: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    members: tuple["Member", ...] = ()

    @property
    def parts(self) -> "tuple[ModelSpec, ...]":
        """The network itself, or every network of a cascade."""
        return tuple(member.spec for member in self.members) or (self,)

    @property
    def title(self) -> str:
        """Name of the network, or names of all networks of a cascade."""
        return " → ".join(part.backbone for part in self.parts)

    @property
    def has_own_exits(self) -> bool:
        """True where the exits are outputs of the network itself, and none is attached."""
        return len(self.outputs) > 1

    @property
    def texts(self) -> tuple[str, ...]:
        """Labels, taps and vocabulary words, which a bundle must be able to hold."""
        inputs = [i for part in (self, *self.parts) for i in part.inputs]
        words = [word for i in inputs if i.text is not None for word in i.text.vocabulary]
        return (*self.labels, *self.taps, *self.outputs, *words)


@dataclass(frozen=True)
class LossOptions:
    """Options of a recipe's loss.

    Attributes:
        label_smoothing: share of the target that is spread over all classes.
        exit_weights: weight of each exit's loss, the final exit included; empty for 1 each.
        ramp: the weights of early exits rise during the run.
        distill_share: share of an exit's loss that comes from a teacher.
        distill_temperature: temperature that softens the probabilities of teacher and exit.
        teacher: name and hash of the teacher network, used beside the deepest exit.
        teacher_views: number of augmented versions of the data that the run repeats, 0 for no repetition.
        survivors: point of the run, in [0, 1], from which exits are trained mostly on the examples that reach them.
        targets: `labels`, or `backbone` for the predictions of a frozen backbone.
        cost_weight: λ of the recipe `confidence`, the weight of the backbone's full cost.
        gradient_scaling: gradients of shared layers are averaged over exits, see `eetool.train.gradient_scaling`.
    """

    label_smoothing: float = 0.0
    exit_weights: tuple[float, ...] = ()
    ramp: bool = False
    distill_share: float = 0.5
    distill_temperature: float = 3.0
    teacher: str | None = None
    teacher_views: int = 0
    survivors: float | None = None
    targets: str = "labels"
    cost_weight: float = 0.5
    gradient_scaling: bool = False


@dataclass(frozen=True)
class TrainingSettings:
    """Settings that the weights were trained with.

    Attributes:
        recipe: name of the training recipe.
        epochs: passes over the training split.
        seed: seed of initial weights, order and augmentation.
        batch_size: examples per step.
        learning_rate: peak learning rate.
        hold_out: origin of the held-out examples, see `eetool.data.splits.split_source`.
        warm_up: share of the steps in which the learning rate rises to its peak.
        weight_decay: factor of the weight decay.
        precision: `fp32`, or `bf16` or `fp16` for multiplications only.
        average: decay of the exponential average of the weights over steps; 0 for the last weights.
        optimizer: `sgd` with momentum, or `adamw`, which transformers need.
        torch_device: device of the training: `cpu`, `cuda`, …
        erase: side in pixels of the square that is erased in every image; 0 for that of the level.
        augment: level of augmentation, see `eetool.data.augmentation_levels`; files of earlier versions are `light`.
        mirror: whether images were mirrored; None in files of earlier versions: as the data allowed.
        keep: epoch whose weights are kept, `best` or `last`, see `eetool.train.epoch_choice`; files of earlier versions
            are `last`.
        loss: options of the loss.
        feature_views: number of versions of the data whose features a frozen backbone computes once, the first without
            augmentation; 0 where every epoch runs the backbone (docs/decisions/0044).
        new_classifier: the classifier was fitted on the data before the training, on features of the initial weights.
    """

    recipe: str
    epochs: int
    seed: int
    batch_size: int
    learning_rate: float
    hold_out: str = "train"
    warm_up: float = 0.15
    weight_decay: float = 5e-4
    precision: str = "fp32"
    average: float = 0.0
    optimizer: str = "sgd"
    torch_device: str = "cpu"
    erase: int = 0
    augment: str = "light"
    mirror: bool | None = None
    keep: str = "last"
    loss: LossOptions = LossOptions()
    feature_views: int = 0
    new_classifier: bool = False


@dataclass(frozen=True)
class ExpectedDrop:
    """Accuracy drop against full depth that is expected on new data, in percentage points.

    Attributes:
        points: the drop; negative where early exits repair errors of full depth.
        ci95: its interval with a level of 95 %.
        optimism: part of `points` that the examples themselves do not show.
    """

    points: float
    ci95: tuple[float, ...]
    optimism: float


_LARGEST_POINTS = 1000  # of a drop with what its optimism adds


def invalid_drops(drops: Mapping[str, ExpectedDrop]) -> str | None:
    """Return the reason why expected drops, read from a file, are invalid, or None."""
    for drop in drops.values():
        values = (drop.points, *drop.ci95, drop.optimism)
        if len(drop.ci95) != 2 or not all(math.isfinite(value) and abs(value) <= _LARGEST_POINTS for value in values):
            return "an expected accuracy drop is none"
    return None


@dataclass(frozen=True)
class Member:
    """A trained network of a cascade.

    Attributes:
        spec: the network, with the normalisation of pixels that it was trained with.
        training: settings of its training.
        reads: name of the cascade's input for each input of the network.
    """

    spec: ModelSpec
    training: TrainingSettings
    reads: tuple[str, ...]


def member_taps(parts: Iterable[ModelSpec]) -> tuple[str, ...]:
    """Return what stands for the tap of each early exit of a cascade: the network, and the tap inside it."""
    taps = [name for i, part in enumerate(parts) for name in (*(f"network {i} {t}" for t in part.taps), f"network {i}")]
    return tuple(taps[:-1])


def member_branches(parts: Iterable[ModelSpec]) -> tuple[str, ...]:
    """Return the branch of each early exit of a cascade; `own` for the classifier of a network."""
    return tuple([branch for part in parts for branch in (*part.branches, OWN)][:-1])


@dataclass(frozen=True)
class StreamFit:
    """Operating points for streams of frames, as `eetool tune --stream` fits them.

    Attributes:
        period_s: seconds from one frame to the next.
        base_rates: share of each class in the training split.
        default: name of the default point.
        points: policies by name.
        expected_drops: by point, what new groups will show, against full depth with an answer per frame.
    """

    period_s: float
    base_rates: tuple[float, ...]
    default: str
    points: dict[str, StreamPoint]
    expected_drops: dict[str, ExpectedDrop] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """Calibration and thresholds, as `eetool tune` fits them.

    Attributes:
        score: gate score, see `eetool.model.gate_scores`.
        temperatures: one per exit, the final exit included.
        operating_points: thresholds by name.
        max_accuracy_drop: largest drop that the default operating point was fitted for.
        slopes: one per exit, with Platt's calibration.
        offsets: one per exit, with Platt's calibration.
        goals: goals that the policy was fitted for; None in files of earlier versions.
        default: name of the operating point that is in use after loading; None in files of earlier versions.
        expected_drops: by operating point, what new data will show; empty in files of earlier versions.
        stream: operating points for streams; None where none were fitted.
    """

    score: str
    temperatures: tuple[float, ...]
    operating_points: dict[str, OperatingPoint]
    max_accuracy_drop: float
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    goals: TuningGoals | None = None
    default: str | None = None
    expected_drops: dict[str, ExpectedDrop] = field(default_factory=dict)
    stream: StreamFit | None = field(default=None, metadata=LATER)


CONTENTS = re.compile("([0-9a-f]{16}){1,2048}")  # fingerprints of examples, one after the other


@dataclass(frozen=True)
class CheckpointRecord:
    """Everything in a checkpoint except the tensors; `contents` is that of `eetool.data.contents`."""

    spec: ModelSpec
    training: TrainingSettings
    data: Data | None = None
    policy: Policy | None = None
    history: TrainingHistory | None = None
    contents: str | None = None
