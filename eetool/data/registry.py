"""Where examples come from. A source is plain arrays, so that benches read it without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.data.names import check_names
from eetool.errors import ArtefactError, UsageError
from eetool.progress import SILENT, Progress

# The text in front of the colon, and what may stand behind it.
NAMES = ("digits", "cifar10[:DIR]", "cifar100[:DIR]", "svhn[:DIR]", "folder:DIR", "npz:FILE", "tsv:FILE|DIR")


@dataclass(frozen=True)
class Source:
    """Labelled images, or what else a network takes.

    Attributes:
        inputs: uint8 (N, C, H, W), which training may move and normalises; or finished inputs: features float32
            (N, D), (N, T, D) or (N, C, H, W), or token ids int64 (N, T) of texts.
        labels: int64 (N,), numbers of `classes`.
        mirror: whether a mirrored image keeps its label, so that training may flip it.
        official_test: how many examples, the last ones, are the test set that the source came with.
        vocabulary: of texts, the words that have ids of their own.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mirror: bool
    official_test: int = 0
    vocabulary: tuple[str, ...] = ()

    @property
    def are_pixels(self) -> bool:
        """Whether the examples are images as cameras give them, and no finished inputs."""
        return self.inputs.dtype == np.uint8


def load_source(name: str, progress: Progress = SILENT) -> Source:
    """The source called `name`, such as `digits` or `cifar10:DIR`; `cifar10` alone is downloaded where it has to be.

    Raises:
        UsageError: there is no such source; names those that there are.
        ArtefactError: its files are missing or damaged, or a label or a class is not what it should be.
        MissingError: a download needs a package that is not installed.
    """
    kind, _, place = name.partition(":")
    known = f"Known sources: {', '.join(NAMES)}."
    if kind not in _READERS:
        raise UsageError(f"unknown data source {name!r}", known)
    if place and kind in _WITHOUT_PLACE:
        raise UsageError(f"the data source {name!r} takes no path", known)
    if not place and (name not in (*_WITHOUT_PLACE, *_DOWNLOADED)):
        raise UsageError(f"the data source {name!r} needs the path of its files", known)
    if name in _DOWNLOADED:
        from eetool.data.readers.download import official_files

        return validate_source(_READERS[kind](official_files(kind, progress)))
    return validate_source(_READERS[kind](Path(place)))


def is_local(name: str) -> bool:
    """Whether loading `name` needs no download."""
    if name not in _DOWNLOADED:
        return True
    from eetool.data.readers.download import is_downloaded

    return is_downloaded(name)


def validate_source(source: Source) -> Source:
    """Return `source`; raises ArtefactError where it cannot be learned from, or no bundle could hold its names."""
    check_names(source.name, source.classes, source.vocabulary)
    if len(source.inputs) != len(source.labels):
        raise ArtefactError(f"{source.name}: {len(source.inputs)} images and {len(source.labels)} labels")
    if len(source.labels) == 0:
        raise ArtefactError(f"{source.name}: holds no examples")
    if 0 in source.inputs.shape:
        raise ArtefactError(f"{source.name}: its examples of the shape {source.inputs.shape[1:]} hold nothing")
    outside = np.flatnonzero((source.labels < 0) | (source.labels >= len(source.classes)))
    if len(outside):
        raise ArtefactError(
            f"{source.name}: label {source.labels[outside[0]]} of example {outside[0]} is out of range: "
            f"there are {len(source.classes)} classes",
            f"Labels are the numbers 0 to {len(source.classes) - 1}; {len(outside)} are not.",
        )
    learned = source.labels[: len(source.labels) - source.official_test]
    absent = [
        c for c, n in zip(source.classes, np.bincount(learned, minlength=len(source.classes)), strict=True) if not n
    ]
    if absent:
        raise ArtefactError(
            f"{source.name}: no training example is of class {absent[0]!r}"
            + (f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""),
            "A class without examples cannot be learned: leave it out of the classes.",
        )
    return source


def _digits(place: Path) -> Source:
    """1,797 handwritten digits of 8×8 pixels and 17 grey levels (UCI, shipped with scikit-learn), brought to 32×32."""
    from PIL import Image
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # (N, 64) -> (N, 8, 8)
    large = [np.asarray(Image.fromarray(g).resize((32, 32), Image.Resampling.BILINEAR)) for g in grey]
    return Source(
        name="digits",
        inputs=np.stack(large)[:, None],  # (N, 32, 32) -> (N, 1, 32, 32)
        labels=labels.astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        mirror=False,
    )


def _cifar10(place: Path) -> Source:
    from eetool.data.readers.cifar import read_cifar10

    return read_cifar10(place)


def _cifar100(place: Path) -> Source:
    from eetool.data.readers.cifar import read_cifar100

    return read_cifar100(place)


def _svhn(place: Path) -> Source:
    from eetool.data.readers.svhn import read_svhn

    return read_svhn(place)


def _folder(place: Path) -> Source:
    from eetool.data.readers.image_folder import read_image_folder

    return read_image_folder(place)


def _npz(place: Path) -> Source:
    from eetool.data.readers.npz import read_npz

    return read_npz(place)


def _tsv(place: Path) -> Source:
    from eetool.data.readers.tsv_text import read_tsv_texts

    return read_tsv_texts(place)


_READERS: dict[str, Callable[[Path], Source]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "folder": _folder,
    "npz": _npz,
    "tsv": _tsv,
}
_WITHOUT_PLACE = {"digits"}
_DOWNLOADED = {"cifar10", "cifar100", "svhn"}
