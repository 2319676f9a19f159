"""Downloads of official archives by pooch: checked by hash, cached, and stored complete or not at all."""

import os
import shutil
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from eetool.errors import ArtefactError, MissingError, OutputError
from eetool.progress import SILENT, Advance, Progress
from eetool.records import write_directory

CACHE = "EETOOL_CACHE"  # environment variable with another folder for the cache
_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30
_AGAIN = "Try again later, or download it yourself and give its folder, such as cifar10:DIR."


@dataclass(frozen=True)
class Archive:
    """A file on a server.

    Attributes:
        url: its address.
        md5: its hash, of the only kind that all servers publish.
        folder: folder inside a tar archive; None for a single file.
    """

    url: str
    md5: str
    folder: str | None = None

    @property
    def name(self) -> str:
        """File name, from the address."""
        return self.url.rpartition("/")[2]


# Hashes of CIFAR are from https://www.cs.toronto.edu/~kriz/cifar.html; SVHN publishes none, so torchvision's are used.
_CIFAR, _SVHN = "https://www.cs.toronto.edu/~kriz", "http://ufldl.stanford.edu/housenumbers"
OFFICIAL = {
    "cifar10": (
        Archive(f"{_CIFAR}/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin"),
    ),
    "cifar100": (Archive(f"{_CIFAR}/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary"),),
    "svhn": (
        Archive(f"{_SVHN}/train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        Archive(f"{_SVHN}/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
    ),
}


def official_files(source: str, progress: Progress = SILENT) -> Path:
    """Return the folder of the official files of `source`, downloaded where they are not in the cache.

    Raises:
        MissingError: pooch is not installed.
        ArtefactError: the server does not answer, breaks off, or sends a file with another hash.
        OutputError: the cache cannot be written to.
    """
    folder = cache_folder() / source
    for archive in OFFICIAL[source]:
        fetch(archive, folder, progress)
    return folder


def is_downloaded(source: str) -> bool:
    """Return True where all official files of `source` are in the cache."""
    folder = cache_folder() / source
    return all((folder / (archive.folder or archive.name)).exists() for archive in OFFICIAL[source])


def cache_folder() -> Path:
    """Return the folder of downloads: `EETOOL_CACHE`, or the cache folder of the system."""
    return Path(os.environ[CACHE]) if os.environ.get(CACHE) else Path(_pooch().os_cache("eetool"))


def fetch(archive: Archive, folder: Path, progress: Progress = SILENT) -> Path:
    """Return the file of `archive` in `folder`, or the folder that it unpacks to; download it where it is missing."""
    target = folder / (archive.folder or archive.name)
    if target.is_dir():  # a folder gets its name only when it is complete
        return target
    file = _download(archive, folder, progress)
    if archive.folder is None:
        return file
    try:
        with write_directory(target) as unpacked:
            _unpack(file, archive.folder, unpacked)
    except OutputError:
        if not target.is_dir():  # otherwise another run has finished first
            raise
    file.unlink(missing_ok=True)
    return target


def _download(archive: Archive, folder: Path, progress: Progress) -> Path:
    pooch = _pooch()
    pooch.get_logger().setLevel("ERROR")  # the progress bar shows the same
    with _Bar(f"downloading {archive.name}", progress) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S)
        try:
            path = pooch.retrieve(
                archive.url, f"md5:{archive.md5}", fname=archive.name, path=folder, downloader=downloader
            )
        except OSError as error:  # includes the errors of requests
            raise ArtefactError(f"{archive.url}: could not be downloaded: {_reason(error)}", _AGAIN) from None
        except ValueError:  # raised by pooch for another hash, after it has removed the file
            raise ArtefactError(
                f"{archive.url}: the download is not the official file: its MD5 is not {archive.md5}", _AGAIN
            ) from None
    return Path(path)


def _reason(error: OSError) -> str:
    """Return the message of the innermost cause, which is the shortest."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    return str(error.strerror or cause or type(error).__name__)


def _unpack(file: Path, inside: str, folder: Path) -> None:
    """Extract the files of the folder `inside` the archive.

    Nothing but their contents is taken, so that no path leaves `folder`, whatever the archive says. (The filters of
    `tarfile` do the same from Python 3.11.4 on; Debian 12 has an earlier one.)
    """
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                if member.isfile() and member.name.startswith(f"{inside}/"):
                    _extract(archive, member, folder / _confined(member.name.removeprefix(f"{inside}/")))
    except tarfile.TarError as error:
        raise ArtefactError(f"{file}: cannot be unpacked: {error}", _AGAIN) from None


def _confined(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise tarfile.TarError(f"{name!r} lies outside of the folder")
    return path


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    contents = archive.extractfile(member)
    assert contents is not None  # a regular file
    target.parent.mkdir(parents=True, exist_ok=True)
    with contents, target.open("wb") as written:
        shutil.copyfileobj(contents, written)


class _Bar:
    """Adapter from pooch's progress bar to `Progress`, which begins when the size is known."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what, self._progress, self._stack = what, progress, ExitStack()
        self._advance: Advance = lambda steps: None
        self._remaining = 0

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def total(self) -> int:
        """Remaining bytes."""
        return self._remaining

    @total.setter
    def total(self, size_bytes: int) -> None:
        self._remaining = size_bytes
        self._advance = self._stack.enter_context(self._progress(self._what, size_bytes))

    def update(self, size_bytes: int) -> None:
        """Advance by `size_bytes`; the last chunk is smaller than pooch reports."""
        step = min(size_bytes, self._remaining)
        self._remaining -= step
        self._advance(step)

    def reset(self) -> None:
        """Do nothing: pooch fills its bar once more at the end."""

    def close(self) -> None:
        """Do nothing: the block closes the bar."""


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError:
        raise MissingError(
            "the package pooch is not installed, which downloads data",
            "Install it: pip install pooch. Or give the folder of the files, such as cifar10:DIR.",
        ) from None
    return pooch
