"""Data sources by name."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from eetool.data.image_form import DataChoice, ImageForm, split_size
from eetool.data.odd_examples import odd_examples
from eetool.data.readers.cifar import read_cifar10, read_cifar100
from eetool.data.readers.digits import read_digits
from eetool.data.readers.download import is_downloaded, official_files
from eetool.data.readers.frames import read_frames
from eetool.data.readers.image_cache import remember_lines
from eetool.data.readers.image_folder import folder_classes, read_image_folder
from eetool.data.readers.npz import read_npz
from eetool.data.readers.signal import read_signal
from eetool.data.readers.svhn import read_svhn
from eetool.data.readers.tsv_text import read_tsv_texts
from eetool.data.source import Source, absent_classes, validate_source
from eetool.data.source_names import (
    DOWNLOADED,
    FOLDER,
    FRAMES,
    KINDS,
    KNOWN,
    OF_IMAGE_FILES,
    SIGNAL,
    is_user_data,
    parse_source_name,
)
from eetool.errors import UsageError
from eetool.progress import SILENT, Progress
from eetool_runtime.near_names import did_you_mean

_READERS: dict[str, Callable[[Path], Source]] = {
    "digits": lambda path: read_digits(),
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "svhn": read_svhn,
    "npz": read_npz,
    "tsv": read_tsv_texts,
    SIGNAL: lambda path: read_signal(str(path)),
}
_IMAGE_READERS = {FOLDER: read_image_folder, FRAMES: read_frames}
_USERS_OWN = {FOLDER, "npz"}


def load_source(data: str | DataChoice, progress: Progress = SILENT, form: ImageForm | None = None) -> Source:
    """Load the source called `data`, such as `digits` or `cifar10:DIR`; `cifar10` alone is downloaded if necessary.

    What was skipped, converted or looks wrong in the user's own files is said in notes. Another name with a colon is a
    function of the user, which is called.

    Args:
        data: the source, which may have image options.
        progress: shows downloads and decoding, and receives the notes.
        form: what the images of a folder are brought to; that of a model is `image_form.model_form`. A size in the
            name, as in `folder:DIR@96`, must be the same. Other sources ignore it: their images have a size.

    Raises:
        UsageError: there is no such source, in which case the hint lists the known ones; or two sizes are asked for.
        ArtefactError: its files are missing or damaged, or a label or a class is invalid.
        MissingError: a download needs a package that is not installed.
    """
    choice = data if isinstance(data, DataChoice) else DataChoice(data)
    name, form = choice.name, choice.form(form)
    source = _read_views(name, form, progress) if form is not None and form.views else _read(name, form, progress)
    choice.check_shape(source.inputs.shape[1:])
    return source


def _read(name: str, form: ImageForm | None, progress: Progress) -> Source:
    if is_user_data(name):
        source = _load_user_data(name, progress)
        return _noted(source, odd_examples(source), progress)
    kind, path = parse_source_name(name)
    if kind in OF_IMAGE_FILES:
        path, _ = split_size(path)
        source = validate_source(_IMAGE_READERS[kind](Path(path), form, progress))
    else:
        source = validate_source(_READERS[kind](official_files(kind, progress) if name in DOWNLOADED else Path(path)))
    odd = remember_lines(source.inputs, partial(odd_examples, source)) if kind in _USERS_OWN else ()
    return _noted(source, odd, progress)


def image_reader(data: str | DataChoice, progress: Progress = SILENT) -> Callable[[ImageForm], Source] | None:
    """Return a function that reads the photographs of `data` in a form; None where its examples are no photographs.

    A size in the name, as in `folder:DIR@96`, gives way to that of the form.
    """
    name = data.name if isinstance(data, DataChoice) else data
    if not _is_of_image_files(name):
        return None
    kind, path = parse_source_name(name)
    folder, _ = split_size(path)

    def read(form: ImageForm) -> Source:
        first, *others = (
            validate_source(_IMAGE_READERS[kind](Path(folder), view, progress))
            for view in (replace(form, views=()), *form.views)
        )
        return replace(first, views=tuple(other.inputs for other in others))

    return read


def count_classes(data: DataChoice) -> int | None:
    """Return the number of classes of photographs in folders, without reading them; None for other data.

    Raises:
        ArtefactError: the folder cannot be read.
    """
    if image_reader(data) is None:
        return None
    folder, _ = split_size(parse_source_name(data.name)[1])
    return len(folder_classes(Path(folder)))


def _read_views(name: str, form: ImageForm, progress: Progress) -> Source:
    """Return the images of a folder in each of several forms."""
    if not _is_of_image_files(name):
        raise UsageError(
            f"{form.owner} reads every image in {1 + len(form.views)} sizes, which {name} does not have",
            "Give the photographs: --data folder:DIR.",
        )
    first = _read(name, replace(form, views=()), progress)
    others = [_read(name, view, SILENT).inputs for view in form.views]
    return replace(first, views=tuple(others))


def _is_of_image_files(name: str) -> bool:
    return not is_user_data(name) and parse_source_name(name)[0] in OF_IMAGE_FILES


def _noted(source: Source, odd: Iterable[str], progress: Progress) -> Source:
    for line in (*source.notes, *absent_classes(source), *odd):
        progress.note(f"{source.name}: {line}")
    return source


def _load_user_data(name: str, progress: Progress) -> Source:
    """Return the examples of a function of the user."""
    from eetool.data.readers.user_data import read_user_data
    from eetool.model.references.factory_call import parse_factory
    from eetool.model.user_function import UnknownModuleError

    try:
        parse_factory(name)
    except UsageError:
        raise UsageError(f"unknown data source {name!r}", _hint(name)) from None
    try:
        return validate_source(read_user_data(name, progress))
    except UnknownModuleError as error:
        raise UsageError(f"unknown data source {name!r}: {error.message}", f"{error.hint} {_hint(name)}") from None


def _hint(name: str) -> str:
    return did_you_mean(name.partition(":")[0], KINDS) + KNOWN


def is_local(name: str) -> bool:
    """Return True where `name` may be loaded without being asked for: it needs no download, and runs no user's code."""
    return not is_user_data(name) and (name not in DOWNLOADED or is_downloaded(name))
