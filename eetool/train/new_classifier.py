"""New classifier of a trained backbone, fitted on its features: `--new-classifier`."""

import numpy as np
import torch
from torch import Tensor, nn

from eetool.model.early_exit import EarlyExitNet
from eetool.model.last_linear import without_layer
from eetool.progress import SILENT, Progress
from eetool.train.logistic_regression import fit_logistic_regression
from eetool.train.stored_training import ExamplesView, examples_digest
from eetool.train.tap_features import TapPart, backbone_digest, tap_features
from eetool.train.training_examples import TrainingExamples
from eetool.wording import counted

_MOST_EXAMPLES = 50_000  # of the fit; 1,280 features of each take 256 MB


def fit_new_classifier(
    net: EarlyExitNet,
    layer: str,
    examples: TrainingExamples,
    held_out: TrainingExamples,
    progress: Progress = SILENT,
) -> None:
    """Fit the linear layer of the backbone that gives its logits, in place; nothing else changes.

    Features are those that `eetool.train.tap_features` keeps. Of many training examples evenly spaced ones are used.

    Args:
        net: the network with trained weights before that layer.
        layer: name of the layer, see `eetool.model.last_linear`.
        examples: training examples, which are not augmented.
        held_out: other examples, for the accuracy in the note.
        progress: observer.

    Raises:
        ArtefactError, OutputError: see `tap_features`.
    """
    linear = net.backbone.get_submodule(layer)
    assert isinstance(linear, nn.Linear)
    chosen = np.unique(np.linspace(0, len(examples.labels) - 1, _MOST_EXAMPLES).astype(np.int64))
    with without_layer(net.backbone, layer):
        inside = EarlyExitNet(net.backbone, {}, output=net.output)
        weights = backbone_digest(inside)
        features = _features(inside, examples, chosen, weights, progress)
        judged = _features(inside, held_out, np.arange(len(held_out.labels)), weights, progress)
    fitted = fit_logistic_regression(features, examples.labels[chosen], linear.out_features, linear.bias is not None)
    with torch.no_grad():
        linear.weight.copy_(fitted.weight)
        if linear.bias is not None:
            linear.bias.copy_(fitted.bias)
        right = float((linear(judged).argmax(1) == held_out.labels).float().mean())
    progress.note(
        f"new classifier {layer} of {linear.out_features} classes: logistic regression on "
        f"{counted(len(chosen), 'training example')} of {linear.in_features} features, penalty {fitted.penalty:g} by "
        f"every fifth of them; {100 * right:.1f} % of {counted(len(judged), 'held-out example')} are right"
    )


def _features(
    net: EarlyExitNet, examples: TrainingExamples, chosen: np.ndarray, weights: str, progress: Progress
) -> Tensor:
    view = ExamplesView(examples, examples_digest(examples), None)
    (rows,) = tap_features(net, [TapPart("", None)], view, weights, progress)
    return torch.from_numpy(rows[chosen])
