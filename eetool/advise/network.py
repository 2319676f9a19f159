"""The network of an advice: a reference with weights, or a model.pt; and its examples."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eetool.data.image_form import DataChoice, ImageForm, model_form, split_size
from eetool.data.image_rows import image_tensor
from eetool.data.source import Source, check_classes
from eetool.data.splits import FROM_TRAIN, TEMPERATURE, THRESHOLD, TRAIN, split_source
from eetool.errors import UsageError
from eetool.model.checkpoint import build_net, load_checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.references import resolve
from eetool.model.references.factory_call import is_factory, parse_factory, write_factory
from eetool.model.spec import ModelSpec
from eetool.model.weights import load_weights
from eetool.progress import Progress
from eetool.train.exit_plan import ExitPlan, make_spec
from eetool.train.initial_weights import InitialWeights, check_initial_weights, load_initial_weights
from eetool.train.normalisation_check import write_normalisation
from eetool.train.pipeline import open_examples
from eetool.train.source_examples import Normalisation
from eetool.train.training_examples import TrainingExamples
from eetool.wording import counted
from eetool_runtime.manifest import CROP

CHECKPOINT = ".pt"


@dataclass(frozen=True)
class NetworkChoice:
    """Choice of the network by the user.

    Attributes:
        model: MODEL of `eetool train`, or the path of a model.pt.
        data: the data source with its image options, as they are typed.
        device: the device, as it is typed.
        weights: file of trained weights.
        weights_key: where in that file the network lies.
        new_classifier: the classifier is fitted on the data, in place of that of the weights.
        normalise: normalisation as it is typed, for the commands.
        normalisation: the same, parsed.
        hold_out: see `eetool.data.splits.split_source`; null for that of a model.pt, or `train`.
        named: factories that a model.pt may use.
    """

    model: str
    data: DataChoice
    device: str | None = None
    weights: Path | None = None
    weights_key: str | None = None
    new_classifier: bool = False
    normalise: str | None = None
    normalisation: Normalisation | None = None
    hold_out: str | None = None
    named: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdvisedNetwork:
    """A trained network without early exits.

    Attributes:
        reference: MODEL for `eetool train`.
        weight_options: options that give its weights and normalisation.
        size_options: options that bring images of a folder to its size.
        named: factory that later commands must name; null for others.
        hold_out: origin of the held-out examples.
        spec: its spec, without exits.
        net: the network in eval mode.
        training: indices of the training split.
        held_out: indices of the examples that temperatures and thresholds are fitted on.
        all_examples: all examples of the source, with their normalisation.
    """

    reference: str
    weight_options: tuple[str, ...]
    size_options: tuple[str, ...]
    named: str | None
    hold_out: str
    spec: ModelSpec
    net: EarlyExitNet
    training: np.ndarray
    held_out: np.ndarray
    source: Source
    statistics: TrainingExamples

    def examples(self, indices: np.ndarray) -> TrainingExamples:
        """Return some examples with the normalisation of the network."""
        images, labels = image_tensor(self.source.inputs, indices), torch.from_numpy(self.source.labels[indices])
        return replace(self.statistics, images=images, labels=labels)


@dataclass(frozen=True)
class _Known:
    """A network as `eetool train` takes it."""

    reference: str
    weights: InitialWeights | None
    normalise: str | None
    normalisation: Normalisation | None
    hold_out: str


def images_form(choice: NetworkChoice) -> ImageForm | None:
    """Return the form of images that the model.pt of `choice` was trained on; None for others, which have none."""
    if not choice.model.endswith(CHECKPOINT):
        return None
    return model_form(load_checkpoint(Path(choice.model), choice.named).record.spec.inputs, choice.model)


def open_network(choice: NetworkChoice, source: Source, progress: Progress) -> AdvisedNetwork:
    """Return the network of `choice` with its weights, and the examples of `source` for it.

    Raises:
        UsageError: the network does not take these data, or has another number of classes.
        ArtefactError: the weights do not fit, or there are too few examples.
    """
    known = _from_checkpoint(choice, source) if choice.model.endswith(CHECKPOINT) else _from_reference(choice, source)
    splits = split_source(source, known.hold_out)
    reference, given, examples = open_examples(known.reference, source, splits[TRAIN], known.normalisation)
    spec = make_spec(reference, (given,), source.classes, ExitPlan(0), progress)
    net = build_net(spec).eval()
    if known.weights is not None and choice.model.endswith(CHECKPOINT):  # its record says what it was trained on
        load_weights(net, known.weights.path, len(source.classes), progress)
    elif known.weights is not None:
        load_initial_weights(net, reference, known.weights, source, splits[TEMPERATURE], examples, progress)
    own = is_factory(known.reference)
    return AdvisedNetwork(
        reference=known.reference,
        weight_options=_weight_options(known),
        size_options=_size_options(choice.data.name, source),
        named=parse_factory(known.reference)[0] if own else None,
        hold_out=known.hold_out,
        spec=spec,
        net=net,
        training=splits[TRAIN],
        held_out=np.sort(np.concatenate([splits[TEMPERATURE], splits[THRESHOLD]])),
        source=source,
        statistics=replace(examples, images=examples.images[:0], labels=examples.labels[:0]),
    )


def expect_published(choice: NetworkChoice) -> NetworkChoice:
    """Check the weights before the data are read; return the choice with the normalisation that they are known for.

    Raises:
        ArtefactError, UsageError: see `check_initial_weights`.
    """
    initial = _initial_weights(choice)
    if initial is None or choice.model.endswith(CHECKPOINT):
        return choice
    expected = check_initial_weights(choice.model, initial, choice.data)
    if expected is None or choice.normalise is not None:
        return choice
    return replace(choice, normalise=write_normalisation(expected), normalisation=expected)


def _initial_weights(choice: NetworkChoice) -> InitialWeights | None:
    if choice.weights is None:
        return None
    return InitialWeights(choice.weights, choice.weights_key, choice.new_classifier)


def _from_reference(choice: NetworkChoice, source: Source) -> _Known:
    hold_out = choice.hold_out or FROM_TRAIN
    if is_factory(choice.model):
        _check_count(choice.model, source)
    return _Known(choice.model, _initial_weights(choice), choice.normalise, choice.normalisation, hold_out)


def _check_count(model: str, source: Source) -> None:
    """Refuse a network whose last layer was made for other classes."""
    classes = resolve.resolve(model, (1, *source.inputs.shape[1:])).classes
    if classes != len(source.classes):
        raise UsageError(
            f"{model} has {counted(classes, 'output')}, and {source.name} has "
            f"{counted(len(source.classes), 'class', 'classes')}",
            f"Replace its last layer in the factory by one with {counted(len(source.classes), 'output')}, "
            "and give the weights below it with --new-classifier.",
        )


def _from_checkpoint(choice: NetworkChoice, source: Source) -> _Known:
    path = Path(choice.model)
    if choice.weights is not None:
        raise UsageError(f"{path} holds weights already", "Leave --weights out, or give the network's reference.")
    record = load_checkpoint(path, choice.named).record
    if record.spec.members:
        raise UsageError(f"{path} is a cascade of networks", "Give the model.pt of one of them: advise adds its exits.")
    check_classes(source, record.spec.labels, str(path))
    spec, rule = record.spec, record.spec.inputs[0].preprocess
    normalisation = None if rule is None else (rule.mean, rule.std)
    normalise = None if normalisation is None else write_normalisation(normalisation)
    reference = write_factory(spec.backbone, spec.config) if is_factory(spec.backbone) else spec.backbone
    hold_out = choice.hold_out or record.training.hold_out
    return _Known(reference, InitialWeights(path), normalise, normalisation, hold_out)


def _weight_options(known: _Known) -> tuple[str, ...]:
    options: tuple[str, ...] = ()
    if known.weights is not None:
        options = ("--weights", str(known.weights.path))
        options += () if known.weights.key is None else ("--weights-key", known.weights.key)
        options += ("--new-classifier",) if known.weights.new_classifier else ()
    return options if known.normalise is None else (*options, "--normalize", known.normalise)


def _size_options(data: str, source: Source) -> tuple[str, ...]:
    """Return the options of `eetool train` that resize the images of `data` as they are here, beside its own size."""
    if source.resize is None or (source.resize.fit == CROP and split_size(data.partition(":")[2])[1] is not None):
        return ()
    shape = "x".join(map(str, source.inputs.shape[1:]))
    return ("--input", shape) if source.resize.fit == CROP else ("--input", shape, "--fit", source.resize.fit)
