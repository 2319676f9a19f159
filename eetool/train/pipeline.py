"""Training pipeline from a backbone reference to a checkpoint: build, place exits, train, take samples."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eetool.data.augmentation import Augmentation
from eetool.data.augmentation_levels import STRONG
from eetool.data.contents import source_contents
from eetool.data.source import Source
from eetool.data.splits import (
    TEMPERATURE,
    TRAIN,
    held_out_count,
    split_record,
    split_source,
)
from eetool.data.vocabulary import check_vocabulary
from eetool.errors import UsageError
from eetool.model.checkpoint import Checkpoint, build_net
from eetool.model.early_exit import EarlyExitNet
from eetool.model.exit_flow import measure_exit_macs
from eetool.model.network_check.trial_run import ROWS, TrialTraining, try_training
from eetool.model.references import factory, resolve
from eetool.model.references.example_inputs import example_inputs, random_samples
from eetool.model.references.factory_call import is_factory
from eetool.model.references.reference import ModelReference
from eetool.model.spec import CheckpointRecord, ModelSpec, TrainingSettings
from eetool.model.weights import load_weights
from eetool.progress import SILENT, Progress
from eetool.train.epoch_figures import EpochListener
from eetool.train.exit_plan import ExitPlan, make_spec
from eetool.train.few_examples import warn_few_held_out
from eetool.train.initial_weights import InitialWeights, load_initial_weights
from eetool.train.losses import FROZEN, ExitDepth
from eetool.train.network_trial import Trial, try_network
from eetool.train.run_identity import run_identity
from eetool.train.source_examples import AS_THEY_ARE, Normalisation, training_examples, validation_examples
from eetool.train.stored_training import choose_views, store_features
from eetool.train.teacher import Teacher, load_teacher
from eetool.train.torch_devices import check_device
from eetool.train.training_examples import TrainingExamples
from eetool.train.training_loop import run_training
from eetool.wording import counted
from eetool_runtime.manifest import Data, Input, Preprocess
from eetool_runtime.preprocess import SPECIAL

_SAMPLES = 32
_FEWEST_SAMPLES = 4
_SAMPLE_ELEMENTS = 1 << 20  # limit of all samples together, to keep checkpoints and bundles small


def train_model(
    backbone: str,
    source: Source,
    plan: ExitPlan,
    settings: TrainingSettings,
    state_file: Path,
    resume: bool = False,
    progress: Progress = SILENT,
    weights: Path | None = None,
    normalisation: Normalisation | None = None,
    teacher: Path | None = None,
    config: dict[str, Any] | None = None,
    named: Sequence[str] = (),
    weights_key: str | None = None,
    trial: Trial | None = None,
    on_epoch: EpochListener | None = None,
) -> Checkpoint:
    """Train `backbone` with exits on the train split of `source`, from fresh weights or from those in a file.

    A model.pt also initialises exits at the same taps with the same layers. The same seed, machine and number of torch
    threads give the same checkpoint, bit for bit.

    Args:
        backbone: a backbone reference.
        source: the data.
        plan: positions and branches of exits.
        settings: recipe and hyperparameters.
        state_file: file of the state of an interrupted run.
        resume: continue an interrupted run.
        progress: observer.
        weights: file of initial weights.
        weights_key: where in that file the network lies, see `eetool.model.weights.load_weights`.
        normalisation: mean and standard deviation of every channel, or one for all, of pixels in [0, 1], that
            pretrained weights expect; by default those of the training examples.
        teacher: a model.pt whose final exit is the teacher.
        config: configuration of a network that a search found, beside its name.
        named: factories that the teacher may use, see `eetool.model.checkpoint.load_checkpoint`.
        trial: tries a network that is not eetool's own before it is trained, such as its conversion.
        on_epoch: receives the figures of every epoch.
    """
    _check_alone(settings, plan, weights is not None)
    splits = split_source(source, settings.hold_out)
    check_vocabulary(source, splits[TRAIN], progress)
    examples = training_examples(source, splits[TRAIN], settings, normalisation)
    reference = _reference(backbone, source, config)
    spec = _spec(reference, source, examples, plan, settings, progress)
    if spec.taps:
        warn_few_held_out(held_out_count(splits), progress)
    settings = _checked_settings(settings, spec, examples.augmentation)
    settings, loaded_teacher = _with_teacher(settings, teacher, spec, examples, named)
    net = _fresh_net(spec, settings.seed)
    _try_exits(net, reference, settings, progress)
    if weights is not None:
        initial = InitialWeights(weights, weights_key, settings.new_classifier)
        load_initial_weights(net, reference, initial, source, splits[TEMPERATURE], examples, progress)
    settings = choose_views(net, examples, settings, progress)
    data, contents = Data(source.name, split_record(splits)), source_contents(source)
    record = CheckpointRecord(spec, settings, data, contents=contents)
    start = Checkpoint(record, net.state_dict(), _held_out_samples(source, splits[TEMPERATURE], examples, spec))
    try_network(net, start, trial)
    depths, identity = _exit_depths(net, spec), run_identity(start, examples)
    validation = validation_examples(source, splits[TEMPERATURE], TEMPERATURE, examples)
    trained, kept, validated = store_features(net, examples, validation, settings, progress)
    run = partial(run_training, trained, kept, settings, state_file, resume, progress, depths, loaded_teacher)
    history = run(validated, on_epoch, identity, has_weights=weights is not None)
    return replace(start, record=replace(record, history=history), state=net.state_dict())


def open_examples(
    backbone: str,
    source: Source,
    indices: np.ndarray,
    normalisation: Normalisation | None = None,
    config: dict[str, Any] | None = None,
) -> tuple[ModelReference, Input, TrainingExamples]:
    """Return a backbone as the data need it, its input with its preprocessing, and examples without augmentation.

    Args:
        backbone: a backbone reference.
        source: the data.
        indices: the examples.
        normalisation: see `train_model`.
        config: see `train_model`.
    """
    examples = training_examples(source, indices, AS_THEY_ARE, normalisation)
    reference = _reference(backbone, source, config)
    return reference, _input(reference, source, examples), examples


def _reference(backbone: str, source: Source, config: dict[str, Any] | None) -> ModelReference:
    """Return the backbone for inputs and classes of the source."""
    shape = (1, *source.inputs.shape[1:])
    ids = len(source.vocabulary) + SPECIAL if source.vocabulary else None
    return resolve.resolve(backbone, shape, len(source.classes), ids, config)


def _spec(
    reference: ModelReference,
    source: Source,
    examples: TrainingExamples,
    plan: ExitPlan,
    settings: TrainingSettings,
    progress: Progress,
) -> ModelSpec:
    """Return the spec of the network for the data."""
    inputs = (_input(reference, source, examples),)
    spec = make_spec(reference, inputs, source.classes, plan, progress, _trial(settings))
    return replace(spec, learned_confidence=settings.recipe == "confidence")


def _fresh_net(spec: ModelSpec, seed: int) -> EarlyExitNet:
    """Return the network with initial weights."""
    torch.manual_seed(seed)
    return build_net(spec)


def _with_teacher(
    settings: TrainingSettings,
    path: Path | None,
    spec: ModelSpec,
    examples: TrainingExamples,
    named: Sequence[str],
) -> tuple[TrainingSettings, Teacher | None]:
    """Return the settings with the name of the teacher in a file, and the teacher; without a file nothing changes."""
    if path is None:
        return settings, None
    name, make_teacher = load_teacher(path, spec.labels, tuple(examples.images.shape[1:]), named)
    teacher = make_teacher(settings.loss.teacher_views, len(examples.labels))
    return replace(settings, loss=replace(settings.loss, teacher=name)), teacher


def _held_out_samples(
    source: Source, indices: np.ndarray, examples: TrainingExamples, spec: ModelSpec
) -> dict[str, Tensor]:
    """Return a few of the held-out examples as inputs of the model, for parity checks."""
    images = torch.from_numpy(np.asarray(source.inputs[indices[:_SAMPLES]]))
    return {spec.inputs[0].name: examples.normalise(images)}


def try_before_data(
    backbone: str,
    shape: tuple[int, ...] | None,
    classes: int | None,
    plan: ExitPlan,
    settings: TrainingSettings,
    config: dict[str, Any] | None = None,
    has_weights: bool = False,
) -> None:
    """Check what needs no data, and try a network of the user where its inputs are known without them.

    Raises:
        UsageError, ArtefactError: see `make_spec`; or settings contradict each other.
        MissingError: there is no such torch device.
    """
    _check_alone(settings, plan, has_weights)
    if not is_factory(backbone):
        return
    try:
        reference = resolve.resolve(backbone, shape, classes, config=config, choice=plan.outputs)
    except factory.UnknownInputError:
        return
    if len(reference.inputs) > 1:
        own = ", ".join(i.name for i in reference.inputs)
        raise UsageError(
            f"{reference.backbone} takes {counted(len(reference.inputs), 'input')} ({own}), and data sources have one",
            "Without data, exits are attached to networks with several inputs: --epochs 0.",
        )
    labels = tuple(map(str, range(reference.classes)))
    make_spec(reference, reference.inputs, labels, plan, training=_trial(settings))


def _check_alone(settings: TrainingSettings, plan: ExitPlan, has_weights: bool) -> None:
    """Check the settings that neither the data nor the network decides about."""
    if settings.epochs:
        check_device(settings)
    if settings.new_classifier and not has_weights:
        raise UsageError("--new-classifier without --weights", "Give the weights below it, or leave it out.")
    if settings.loss.teacher_views and settings.augment == STRONG:
        raise UsageError(
            "the teacher's logits are kept per example, and this augmentation mixes examples",
            "Leave --teacher-views out, or --augment strong.",
        )
    if plan.outputs.own and settings.recipe == "confidence":
        raise UsageError("a network's own exits have no confidence heads to train", "Give another --recipe.")
    if settings.recipe in FROZEN and not (plan.count or plan.taps or plan.outputs.own):
        raise UsageError(f"the recipe {settings.recipe} trains early exits, and there is none", "Give --exits.")
    if settings.recipe in FROZEN and not has_weights and settings.epochs:
        raise UsageError(f"the recipe {settings.recipe} needs a trained backbone", "Give its --weights.")


def _trial(settings: TrainingSettings) -> TrialTraining | None:
    if not settings.epochs:
        return None
    return TrialTraining(settings.batch_size, settings.recipe in FROZEN, settings.precision == "bf16")


def _try_exits(net: EarlyExitNet, reference: ModelReference, settings: TrainingSettings, progress: Progress) -> None:
    """Try the training of a network with its exits, and note which weights do not learn."""
    if not any(parameter.numel() for parameter in net.parameters()):
        raise UsageError(f"{reference.backbone} has no weights, so nothing can be trained", "Give another MODEL.")
    training = _trial(settings)
    if training is not None:
        inputs = tuple(random_samples(reference, ROWS, seed=0).values())
        for line in try_training(net, inputs, training, reference.backbone):
            progress.note(line)


def _checked_settings(settings: TrainingSettings, spec: ModelSpec, augmentation: Augmentation) -> TrainingSettings:
    """Return the settings, with whether images are mirrored.

    Raises:
        UsageError: they do not fit the exits.
    """
    if spec.has_own_exits and settings.loss.gradient_scaling:
        raise UsageError("--gradient-scaling needs exits that are attached", "Leave it out.")
    if settings.recipe in FROZEN and not spec.taps:
        raise UsageError(f"the recipe {settings.recipe} trains early exits, and there is none", "Give --exits.")
    if settings.loss.exit_weights and len(settings.loss.exit_weights) != len(spec.taps) + 1:
        raise UsageError(
            f"{len(settings.loss.exit_weights)} exit weights for {counted(len(spec.taps) + 1, 'exit')}",
            "The final exit has one.",
        )
    return replace(settings, mirror=augmentation.mirror)


def _exit_depths(net: EarlyExitNet, spec: ModelSpec) -> list[ExitDepth]:
    """Return the depth of every exit, as shares of the backbone's MACs."""
    macs = measure_exit_macs(net, example_inputs(spec.inputs))
    whole = macs.backbone or 1  # a network without MACs has no exits either
    trunk, heads = list(accumulate(macs.trunk)), list(accumulate((*macs.heads, 0)))
    early = [ExitDepth(at / whole, (at + spent) / whole) for at, spent in zip(trunk[:-1], heads[:-1], strict=True)]
    return [*early, ExitDepth(1.0, 1.0 + heads[-1] / whole)]


def attach_exits(
    backbone: str,
    shape: tuple[int, ...] | None,
    classes: int | None,
    plan: ExitPlan,
    seed: int,
    weights: Path | None = None,
    config: dict[str, Any] | None = None,
    progress: Progress = SILENT,
    weights_key: str | None = None,
    trial: Trial | None = None,
) -> Checkpoint:
    """Return an early-exit model without data, with fresh weights or those in a file, and seeded noise as samples.

    Without a shape or a number of classes, that of the reference is used. `trial` is that of `train_model`.
    """
    reference = resolve.resolve(backbone, shape, classes, config=config, choice=plan.outputs)
    labels = tuple(str(i) for i in range(reference.classes))
    spec = make_spec(reference, reference.inputs, labels, plan, progress)
    net = _fresh_net(spec, seed)
    if weights is not None:
        load_weights(net, weights, reference.classes, progress, weights_key, keeps_classes=True)
    elements = sum(x.numel() for x in example_inputs(spec.inputs))
    count = min(_SAMPLES, max(_FEWEST_SAMPLES, _SAMPLE_ELEMENTS // elements))
    record = CheckpointRecord(spec, TrainingSettings("none", 0, seed, 0, 0.0))
    checkpoint = Checkpoint(record, net.state_dict(), random_samples(reference, count, seed))
    try_network(net, checkpoint, trial)
    return checkpoint


def use_threads(count: int) -> None:
    """Train with `count` threads. Weights depend on it, because it changes the order of sums."""
    torch.set_num_threads(count)


def _input(reference: ModelReference, source: Source, examples: TrainingExamples) -> Input:
    """Return the one input of the model, with its preprocessing of images or texts."""
    name, dtype = reference.inputs[0].name, reference.inputs[0].dtype
    if len(reference.inputs) > 1 or (dtype == "float32") != (examples.images.dtype != torch.int64):
        kind = "images" if source.are_pixels else "texts" if source.vocabulary else "features"
        raise UsageError(f"{reference.backbone} does not take {kind}, and {source.name} has nothing else", None)
    shape = ("batch", *examples.images.shape[1:])
    if examples.mean is not None and examples.std is not None:
        mean, std = tuple(examples.mean.tolist()), tuple(examples.std.tolist())
        return Input(name, dtype, shape, Preprocess(1 / 255, mean, std, source.resize))
    return Input(name, dtype, shape, text=source.text_rule)
