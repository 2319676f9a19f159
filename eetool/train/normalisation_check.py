"""Check that weights from elsewhere get pixels as they expect them, by their accuracy with every known normalisation.

A network classifies badly, and no error occurs, where pixels are scaled otherwise than in its own training.
"""

from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from eetool.accuracy_difference import paired_interval
from eetool.data.rows import rows_per_pass
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.metrics import is_chance
from eetool.model.early_exit import EarlyExitNet
from eetool.progress import Progress
from eetool.train.labelled_data import DATASET, PRESETS, Normalisation
from eetool.train.pixel_statistics import pixel_statistics
from eetool.train.source_examples import AS_THEY_ARE, training_examples
from eetool.train.training_examples import TrainingExamples
from eetool.wording import counted

_MOST_EXAMPLES = 128  # each runs once per normalisation
_CLEARLY = 10.0  # percentage points, beyond the interval of the difference
_STATISTICS_OF = 512  # images


def check_normalisation(
    net: EarlyExitNet,
    source: Source,
    held_out: np.ndarray,
    training: TrainingExamples,
    progress: Progress,
    expected: Normalisation | None = None,
) -> None:
    """Note which normalisation weights from elsewhere are given, and warn where another one fits them clearly better.

    Full depth classifies a few held-out examples with the normalisation of the training and with every preset. A
    warning says also where all of them are near chance: the classes or their order may be others.

    Args:
        net: the network with its weights.
        source: the data.
        held_out: held-out examples.
        training: training examples, whose normalisation was chosen.
        progress: receives the lines.
        expected: see `note_normalisation`.
    """
    own = note_normalisation(training, expected, progress)
    if own is None:
        return
    chosen = held_out[np.unique(np.linspace(0, len(held_out) - 1, _MOST_EXAMPLES).astype(np.int64))]
    right = _correctness(net, source, chosen, own)
    presets = _presets(training, source.name)
    others = {name: _correctness(net, source, chosen, rule) for name, rule in presets.items() if not _equal(rule, own)}
    best = max(others, key=lambda name: float(others[name].float().mean()))
    found = f"full depth has {_percent(right)} accuracy on {counted(len(chosen), 'held-out example')}"
    if _is_better(others[best], right):
        progress.note(f"warning: {found}, and {_percent(others[best])} with {best}: type --normalize {best}")
    elif is_chance(right.numpy(), source.labels[chosen]):
        progress.note(
            f"warning: {found}, near chance, and no known normalisation gives clearly more: are the weights of these "
            "classes, in this order?"
        )


def note_normalisation(
    training: TrainingExamples, expected: Normalisation | None, progress: Progress
) -> Normalisation | None:
    """Note which normalisation weights from elsewhere are given, and warn where published ones expect another.

    Args:
        training: training examples, whose normalisation was chosen.
        expected: that of published weights; None where it is not known.
        progress: receives the lines.

    Returns:
        The normalisation; None of finished inputs, which are not normalised, and after the warning.
    """
    if training.mean is None or training.std is None:
        return None
    own = (tuple(training.mean.tolist()), tuple(training.std.tolist()))
    mean, deviation = map(_numbers, own)
    progress.note(f"the weights are taken to expect pixels of mean {mean} and deviation {deviation} (--normalize)")
    if expected is None or _equal(expected, own):
        return own
    remedy = f"type --normalize {write_normalisation(expected)}"
    progress.note(f"warning: these weights were published for another normalisation: {remedy}")
    return None


def write_normalisation(rule: Normalisation) -> str:
    """Return a normalisation as `--normalize` takes it."""
    return "/".join(",".join(map(repr, values)) for values in rule)


def _presets(training: TrainingExamples, name: str) -> dict[str, Normalisation]:
    """Return every preset that fits the channels; that of the data is estimated on some of its images."""
    channels = training.images.shape[1]
    presets = {preset: rule for preset, rule in PRESETS.items() if len(rule[0]) in (1, channels)}
    some = np.unique(np.linspace(0, len(training.labels) - 1, _STATISTICS_OF).astype(np.int64))
    with suppress(ArtefactError):  # they may all be of one colour
        mean, deviation = pixel_statistics(training.images.index_select(0, torch.from_numpy(some)), name)
        presets[DATASET] = (tuple(mean.tolist()), tuple(deviation.tolist()))
    return presets


def _correctness(net: EarlyExitNet, source: Source, chosen: np.ndarray, rule: Normalisation) -> Tensor:
    """Return bool (n,), the examples that full depth classifies right with this normalisation."""
    examples = training_examples(source, chosen, AS_THEY_ARE, rule)
    step, right = rows_per_pass(source.inputs.shape[1:]), []
    net.eval()
    with torch.no_grad():
        for start in range(0, len(chosen), step):
            inputs = examples.normalise(examples.images[start : start + step])
            logits, _ = net.forward_with_confidence(inputs)
            right.append(logits[-1].argmax(1) == examples.labels[start : start + step])
    return torch.cat(right)


def _equal(a: Normalisation, b: Normalisation) -> bool:
    return all(np.allclose(x, y, atol=0.01) for x, y in zip(a, b, strict=True))  # one number is for all channels


def _is_better(other: Tensor, own: Tensor) -> bool:
    gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
    return paired_interval(gained, lost, len(own))[0] > 0 and 100 * (gained - lost) / len(own) > _CLEARLY


def _percent(right: Tensor) -> str:
    return f"{100 * float(right.float().mean()):.0f} %"


def _numbers(values: tuple[float, ...]) -> str:
    shown = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{value:.3g}" for value in shown)
