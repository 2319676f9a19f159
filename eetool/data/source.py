"""Labelled examples as plain arrays, and the rules that they must meet. No torch, so that benchmarks can read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.data.sequences import Sequences
from eetool.errors import ArtefactError
from eetool.names import MAX_WORDS_BYTES, quote, word_bytes
from eetool.wording import counted
from eetool_runtime.manifest import Resize, Text
from eetool_runtime.manifest_checks import TEXT_RULE, is_text

_LABELS_HINT = "Labels are the numbers of the classes, from 0, one for each example."
_MAX_SHOWN = 3  # classes in a message
_MAX_LABEL = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Source:
    """Labelled examples: images, features or texts.

    Attributes:
        name: name of the data, recorded in models and bundles.
        inputs: pixels uint8 (N, C, H, W), which training augments and normalises; or finished inputs: features float32
            (N, D), (N, T, D) or (N, C, H, W), or token ids int64 (N, T) of texts.
        labels: int64 (N,), indices into `classes`.
        classes: names of the classes.
        mirror: True where a mirrored image is known to keep its label, False where it is known not to, else None.
        official_test: number of examples, at the end, that are the official test set of the source.
        texts: the texts whose token ids are `inputs`.
        text_rule: how texts became token ids; None where there are none.
        official_validation: number of examples, before the test set, that are the validation set of the source.
        notes: what the reader skipped, converted or found odd; one line each.
        resize: how images became the size that they have; None where it was theirs.
        views: the same images in other sizes, uint8 (N, C, H, W) each, which a model of several inputs reads.
        files: image files of the examples; empty where they were not read from files of their own.
        order: sequences and groups of the examples; None where their order means nothing.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mirror: bool | None
    official_test: int = 0
    texts: tuple[str, ...] = ()
    text_rule: Text | None = None
    official_validation: int = 0
    notes: tuple[str, ...] = ()
    resize: Resize | None = None
    views: tuple[np.ndarray, ...] = ()
    files: tuple[Path, ...] = ()
    order: Sequences | None = None

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words with ids of their own, for texts."""
        return self.text_rule.vocabulary if self.text_rule is not None else ()

    @property
    def training_count(self) -> int:
        """Number of examples, at the beginning, that are in no official validation or test set."""
        return len(self.labels) - self.official_validation - self.official_test

    @property
    def are_pixels(self) -> bool:
        """True for images as a camera gives them, False for finished inputs."""
        return self.inputs.dtype == np.uint8


def validate_source(source: Source) -> Source:
    """Return `source`.

    Raises:
        ArtefactError: it has no examples, a label or class is invalid, or a bundle could not hold its names.
    """
    _check_names(source)
    if len(source.inputs) != len(source.labels):
        raise ArtefactError(f"{source.name}: {counted(len(source.inputs), 'image')} and {len(source.labels)} labels")
    if len(source.labels) == 0:
        raise ArtefactError(f"{source.name}: holds no examples")
    if 0 in source.inputs.shape:
        raise ArtefactError(f"{source.name}: its examples of the shape {source.inputs.shape[1:]} hold nothing")
    _check_labels(source)
    if len(source.classes) < 2:
        raise ArtefactError(
            f"{source.name}: all {len(source.labels)} examples are of one class, {quote(source.classes[0])}",
            "A classifier needs at least two classes.",
        )
    return source


def check_classes(source: Source, classes: Sequence[str], model: str) -> None:
    """Raise ArtefactError where `source` has other classes than the model or bundle that is called `model`.

    A file or folder of the same name, with as many examples, may hold other data.
    """
    if source.classes == tuple(classes):
        return
    if set(source.classes) == set(classes):
        where = "in another order"
    else:
        other = next((name for name in source.classes if name not in classes), None)
        where = f"such as {quote(other)}" if other is not None else f"{len(source.classes)} of {len(classes)}"
    raise ArtefactError(
        f"{model}: has other classes than {source.name!r}: {where}",
        f"It was trained on {counted(len(classes), 'class', 'classes')}, {_named(classes)}; these data "
        f"have {len(source.classes)}, "
        f"{_named(source.classes)}. Give --data with its own classes, or train on these: "
        "`eetool train MODEL --data SOURCE`.",
    )


def _named(classes: Sequence[str]) -> str:
    """Return the first names of classes for a message."""
    shown = ", ".join(map(quote, classes[:_MAX_SHOWN]))
    return shown + (", …" if len(classes) > _MAX_SHOWN else "")


def _check_names(source: Source) -> None:
    if not is_text(source.name):
        raise ArtefactError(
            f"the name of the data, {quote(source.name)}, fits no bundle", f"Rename the file or folder: {TEXT_RULE}."
        )
    for number, name in enumerate(source.classes):
        if not is_text(name):
            raise ArtefactError(
                f"{source.name}: the name of class {number}, {quote(name)}, fits no bundle",
                f"Rename the class: {TEXT_RULE}.",
            )
    if sum(map(word_bytes, (*source.classes, *source.vocabulary))) > MAX_WORDS_BYTES:
        raise ArtefactError(
            f"{source.name}: the names of {counted(len(source.classes), 'class', 'classes')} are longer "
            f"than a bundle can hold",
            f"All together may take {MAX_WORDS_BYTES} bytes: shorten them.",
        )


def _check_labels(source: Source) -> None:
    outside = np.flatnonzero((source.labels < 0) | (source.labels >= len(source.classes)))
    if len(outside):
        raise ArtefactError(
            f"{source.name}: label {source.labels[outside[0]]} of example {outside[0]} is out of range: "
            f"there are {counted(len(source.classes), 'class', 'classes')}",
            f"Labels are the numbers 0 to {len(source.classes) - 1}; {len(outside)} are not.",
        )
    training = source.labels[: source.training_count]
    counts = np.bincount(training, minlength=len(source.classes))
    absent = [name for name, count in zip(source.classes, counts, strict=True) if not count]
    if absent:
        raise ArtefactError(
            f"{source.name}: no training example is of class {absent[0]!r}"
            + (f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""),
            "A class without examples cannot be learned: leave it out of the classes.",
        )


def absent_classes(source: Source) -> Iterator[str]:
    """Yield a line for the official validation set and the test set where it lacks classes of the training set."""
    _, validation, test = np.split(
        source.labels, [source.training_count, source.training_count + source.official_validation]
    )
    for what, labels in (("validation", validation), ("test", test)):
        absent = sorted(set(range(len(source.classes))) - set(labels.tolist())) if len(labels) else []
        if absent:
            shown = _named([source.classes[label] for label in absent])
            yield f"warning: no {what} example is of class {shown}: figures say nothing about it"


def integer_labels(where: str, labels: np.ndarray) -> np.ndarray:
    """Return `labels` (n,) of a file as int64.

    Args:
        where: file and array, for messages.
        labels: array of any dtype and shape.

    Raises:
        ArtefactError: they are not one-dimensional integers, or one does not fit into int64.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        reason = f"{where} are {labels.dtype} {labels.shape}, not integers (N,)"
        raise ArtefactError(reason, _other_labels_hint(labels))
    if labels.dtype == np.uint64 and len(labels) and labels.max() > _MAX_LABEL:
        index = int(labels.argmax())
        raise ArtefactError(f"{where}: label {labels[index]} of example {index} is out of range", _LABELS_HINT)
    return labels.astype(np.int64)


def _other_labels_hint(labels: np.ndarray) -> str:
    if labels.ndim == 2 and labels.shape[1] == 1:
        return "Store labels.ravel()."
    if labels.ndim == 2 and np.issubdtype(labels.dtype, np.number):
        return "One number for each example: of one-hot rows it is labels.argmax(1)."
    if labels.ndim == 1 and (labels.dtype.kind == "b" or (labels.dtype.kind == "f" and not (labels % 1).any())):
        return "Store labels.astype(np.int64)."
    if labels.ndim == 1 and labels.dtype.kind in "US":
        return "Store names once: classes, labels = np.unique(labels, return_inverse=True)."
    return _LABELS_HINT


def number_classes(where: str, labels: np.ndarray) -> tuple[str, ...]:
    """Return the class names "0", "1", … up to the largest label.

    Raises:
        ArtefactError: the largest label is not below the number of examples. This check comes before any memory is
            spent on the names.
    """
    largest = int(labels.max(initial=-1))
    if largest >= len(labels) > 0:
        index = int(labels.argmax())
        raise ArtefactError(
            f"{where}: label {largest} of example {index} is out of range: there are {counted(len(labels), 'example')}",
            "Labels count classes from 0 without gaps, and every class needs an example.",
        )
    absent = np.setdiff1d(np.arange(largest + 1), labels)
    if len(absent):
        raise ArtefactError(
            f"{where}: no training example is of class '{absent[0]}'",
            "Labels count classes from 0 without gaps: classes, labels = np.unique(labels, return_inverse=True).",
        )
    return tuple(map(str, range(largest + 1)))
