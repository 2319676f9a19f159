"""Data sources by name."""

from collections.abc import Callable
from pathlib import Path

from eetool.data.odd_examples import odd_examples
from eetool.data.readers.cifar import read_cifar10, read_cifar100
from eetool.data.readers.digits import read_digits
from eetool.data.readers.download import is_downloaded, official_files
from eetool.data.readers.image_folder import read_image_folder
from eetool.data.readers.npz import read_npz
from eetool.data.readers.svhn import read_svhn
from eetool.data.readers.tsv_text import read_tsv_texts
from eetool.data.source import Source, validate_source
from eetool.data.source_names import DOWNLOADED, parse_source_name
from eetool.progress import SILENT, Progress

_READERS: dict[str, Callable[[Path], Source]] = {
    "digits": lambda path: read_digits(),
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "svhn": read_svhn,
    "folder": read_image_folder,
    "npz": read_npz,
    "tsv": read_tsv_texts,
}
_USERS_OWN = {"folder", "npz"}


def load_source(name: str, progress: Progress = SILENT) -> Source:
    """Load the source called `name`, such as `digits` or `cifar10:DIR`; `cifar10` alone is downloaded if necessary.

    What was skipped, converted or looks wrong in the user's own files is said in notes.

    Raises:
        UsageError: there is no such source; the hint lists the known ones.
        ArtefactError: its files are missing or damaged, or a label or a class is invalid.
        MissingError: a download needs a package that is not installed.
    """
    kind, path = parse_source_name(name)
    folder = official_files(kind, progress) if name in DOWNLOADED else Path(path)
    source = validate_source(_READERS[kind](folder))
    for line in (*source.notes, *(odd_examples(source) if kind in _USERS_OWN else ())):
        progress.note(f"{source.name}: {line}")
    return source


def is_local(name: str) -> bool:
    """Return True where loading `name` needs no download."""
    return name not in DOWNLOADED or is_downloaded(name)
