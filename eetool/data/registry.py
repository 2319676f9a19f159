"""Data sources by name."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from eetool.data.image_form import ImageForm, agreed_form, split_size
from eetool.data.odd_examples import odd_examples
from eetool.data.readers.cifar import read_cifar10, read_cifar100
from eetool.data.readers.digits import read_digits
from eetool.data.readers.download import is_downloaded, official_files
from eetool.data.readers.image_cache import remember_lines
from eetool.data.readers.image_folder import read_image_folder
from eetool.data.readers.npz import read_npz
from eetool.data.readers.svhn import read_svhn
from eetool.data.readers.tsv_text import read_tsv_texts
from eetool.data.source import Source, validate_source
from eetool.data.source_names import DOWNLOADED, FOLDER, KINDS, KNOWN, is_user_data, parse_source_name
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
}
_USERS_OWN = {FOLDER, "npz"}


def load_source(name: str, progress: Progress = SILENT, form: ImageForm | None = None) -> Source:
    """Load the source called `name`, such as `digits` or `cifar10:DIR`; `cifar10` alone is downloaded if necessary.

    What was skipped, converted or looks wrong in the user's own files is said in notes. Another name with a colon is a
    function of the user, which is called.

    Args:
        name: the source.
        progress: shows downloads and decoding, and receives the notes.
        form: what the images of a folder are brought to; that of a model is `image_form.model_form`. A size in the
            name, as in `folder:DIR@96`, must be the same. Other sources ignore it: their images have a size.

    Raises:
        UsageError: there is no such source, in which case the hint lists the known ones; or two sizes are asked for.
        ArtefactError: its files are missing or damaged, or a label or a class is invalid.
        MissingError: a download needs a package that is not installed.
    """
    if form is not None and form.views:
        return _load_views(name, progress, form)
    if is_user_data(name):
        source = _load_user_data(name, progress)
        return _noted(source, odd_examples(source), progress)
    kind, path = parse_source_name(name)
    if kind == FOLDER:
        path, size = split_size(path)
        source = validate_source(read_image_folder(Path(path), agreed_form(name, size, form), progress))
    else:
        source = validate_source(_READERS[kind](official_files(kind, progress) if name in DOWNLOADED else Path(path)))
    odd = remember_lines(source.inputs, partial(odd_examples, source)) if kind in _USERS_OWN else ()
    return _noted(source, odd, progress)


def _load_views(name: str, progress: Progress, form: ImageForm) -> Source:
    """Return the images of a folder in each of several forms."""
    if is_user_data(name) or parse_source_name(name)[0] != FOLDER:
        raise UsageError(
            f"{form.owner} reads every image in {1 + len(form.views)} sizes, which {name} does not have",
            "Give the photographs: --data folder:DIR.",
        )
    first = load_source(name, progress, replace(form, views=()))
    others = [load_source(name, SILENT, view).inputs for view in form.views]
    return replace(first, views=tuple(others))


def _noted(source: Source, odd: Iterable[str], progress: Progress) -> Source:
    for line in (*source.notes, *odd):
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
