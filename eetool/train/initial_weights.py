"""Weights that a training or an advice begins with: those of a file, with a new classifier where it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from eetool.data.image_form import DataChoice
from eetool.data.registry import count_classes
from eetool.data.source import Source
from eetool.data.splits import TEMPERATURE
from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.model.backbones.published_names import Normalisation
from eetool.model.early_exit import EarlyExitNet
from eetool.model.last_linear import find_last_linear, require_last_linear
from eetool.model.own_exits import OwnExitNet
from eetool.model.references import resolve
from eetool.model.references.reference import ModelReference, Shape
from eetool.model.weights import check_weights, load_weights
from eetool.progress import Progress
from eetool.train.exit_plan import varied_inputs
from eetool.train.new_classifier import fit_new_classifier
from eetool.train.norm_statistics import estimate_norm_statistics
from eetool.train.normalisation_check import check_normalisation, note_normalisation
from eetool.train.source_examples import validation_examples
from eetool.train.training_examples import TrainingExamples

_CHANNELS = (3, 1)  # of images whose channels the files decide


@dataclass(frozen=True)
class InitialWeights:
    """The user's choice of initial weights.

    Attributes:
        path: the file.
        key: where in the file the network lies, for files with several.
        new_classifier: the last linear layer is fitted on the data, and that of the file is not used.
    """

    path: Path
    key: str | None = None
    new_classifier: bool = False


def load_initial_weights(
    net: EarlyExitNet,
    reference: ModelReference,
    weights: InitialWeights,
    source: Source,
    held_out: np.ndarray,
    examples: TrainingExamples,
    progress: Progress,
) -> None:
    """Load the weights of a file into `net`, and fit a new classifier where it is asked for.

    Args:
        net: the network.
        reference: its backbone.
        weights: the file.
        source: the data.
        held_out: held-out examples of the split `temperature`.
        examples: training examples.
        progress: receives notes on weights, normalisation and classifier.

    Raises:
        ArtefactError: the weights do not fit, see `load_weights`.
        UsageError: there is no linear layer to fit; or see `load_weights`.
    """
    layer = _classifier(net, reference) if weights.new_classifier else None
    loaded = load_weights(net, weights.path, len(source.classes), progress, weights.key, without=layer)
    published = loaded.published
    if published is not None and published.folded:
        estimate_norm_statistics(net.backbone, published.folded, examples)
    expected = None if published is None else published.normalisation
    if layer is None:
        check_normalisation(net, source, held_out, examples, progress, expected)
        return
    note_normalisation(examples, expected, progress)
    judged = validation_examples(source, held_out, TEMPERATURE, examples).examples
    fit_new_classifier(net, layer, examples, judged, progress)


def check_initial_weights(
    model: str, weights: InitialWeights, data: DataChoice, config: dict[str, Any] | None = None
) -> Normalisation | None:
    """Check names and shapes of the tensors in a file before the data are read.

    Where only the data say what the inputs are, names alone are compared. The classifier is compared where the number
    of classes is known. A network that cannot be built without the data is not checked here.

    Args:
        model: MODEL argument.
        weights: the file.
        data: the data.
        config: configuration that a search gives beside the name.

    Returns:
        Normalisation that the weights expect, see `check_weights`.

    Raises:
        ArtefactError, UsageError: see `load_weights`.
    """
    shapes, classes = _possible_shapes(data), count_classes(data)
    errors = []
    for shape in shapes or (None,):
        built = _build(model, shape, classes, config)
        if built is None:
            return None
        backbone, layer = built
        without = layer if weights.new_classifier or classes is None else None
        try:
            return check_weights(backbone, weights.path, classes or 0, weights.key, without, shape is None)
        except ArtefactError as error:
            errors.append(error)
    raise errors[0]


def _classifier(net: EarlyExitNet, reference: ModelReference) -> str:
    if isinstance(net, OwnExitNet):
        raise UsageError(
            f"the exits of {reference.backbone} are its own, and --new-classifier fits the final one alone",
            "Leave --exits own out: exits are attached to it.",
        )
    return require_last_linear(net, varied_inputs(reference), reference.backbone)


def _build(
    model: str, shape: Shape | None, classes: int | None, config: dict[str, Any] | None
) -> tuple[nn.Module, str | None] | None:
    """Return a backbone with fresh weights and the name of its classifier; None where it takes other inputs."""
    try:
        reference = resolve.resolve(model, shape, classes, config=config)
        backbone = resolve.build(reference.backbone, reference.inputs, reference.classes, reference.config)
        return backbone, find_last_linear(EarlyExitNet(backbone, {}), varied_inputs(reference))
    except EarlyExitError:  # what is wrong with it is said where the data are known
        return None


def _possible_shapes(data: DataChoice) -> Sequence[Shape]:
    """Return the shapes (1, C, H, W) that images may have; none where only the files say it."""
    form = data.form()
    if form is None:
        return ()
    channels = _CHANNELS if form.channels is None else (form.channels,)
    return tuple((1, count, form.height, form.width) for count in channels)
