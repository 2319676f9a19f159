"""Synthetic streams of `benchmarks/streams.py`: spoken digits, and images of CIFAR-10, in runs of one class."""

from pathlib import Path
from typing import Any

import numpy as np
from stream_cases import Case, predict, source_frames, temperatures_of, train_once
from stream_data import SEED, geometric, save_digits, streams_of

import eetool
from eetool.data.registry import load_source
from eetool.data.sequences import number_sequences
from eetool.data.source import Source
from eetool.data.views import inputs_by_name
from eetool_runtime import open_bundle

PRETRAINED = Path(__file__).parents[1] / "pretrained/cifar10/model.eebundle"
RUN_LENGTH = 10  # mean frames of a class
CIFAR_GROUPS = 8


def digit_case(speech: Path, folder: Path, epochs: int) -> Case:
    """Return spoken digits: streams of every speaker, of other recordings than training."""
    save_digits(speech, folder / "digits.npz", RUN_LENGTH)
    source, bundle = load_source(f"npz:{folder / 'digits.npz'}"), folder / "digits.eebundle"
    if not bundle.exists():
        exits: dict[str, Any] = {"at": ("stages.0.0", "stages.1.0"), "branch": "linear"}
        trained = train_once(folder / "digits.pt", "tcresnet8", source, epochs=epochs, **exits)
        tuned = eetool.tune(trained, source).checkpoint
        assert tuned is not None
        eetool.export(tuned, bundle)
    at, middle = source.training_count, source.training_count + source.official_validation
    logits, temperatures = predict(bundle, source.inputs[at:]), temperatures_of(bundle)
    parts = np.arange(at, middle), np.arange(middle, len(source.labels))
    fit, test = (source_frames(source, rows, logits[:, rows - at], temperatures) for rows in parts)
    rates = np.bincount(source.labels[:at], minlength=len(source.classes)) / at
    return Case("spoken digits", bundle, fit, test, source.inputs[middle:], rates)


def cifar_case(cifar: Path) -> Case:
    """Return CIFAR-10's test images in runs, answered by the pretrained network."""
    loaded = load_source(f"cifar10:{cifar}")
    images, labels = loaded.inputs[loaded.training_count :], loaded.labels[loaded.training_count :]
    streams = streams_of(images, labels, CIFAR_GROUPS, geometric(RUN_LENGTH), SEED)
    order, _ = number_sequences("cifar10", streams["sequence"], streams["group"], 1.0)
    source = Source(loaded.name, streams["inputs"], streams["labels"], loaded.classes, None, order=order)
    inputs = next(iter(inputs_by_name(source.inputs, open_bundle(PRETRAINED).manifest.inputs).values()))
    logits, temperatures = predict(PRETRAINED, inputs), temperatures_of(PRETRAINED)
    half = np.flatnonzero(order.group < CIFAR_GROUPS // 2), np.flatnonzero(order.group >= CIFAR_GROUPS // 2)
    fit, test = (source_frames(source, rows, logits[:, rows], temperatures) for rows in half)
    rates = np.full(len(loaded.classes), 1 / len(loaded.classes))
    return Case("CIFAR-10 images in runs", PRETRAINED, fit, test, inputs[half[1]], rates)
