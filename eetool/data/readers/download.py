"""Official archives, fetched once by pooch: checked by their hash, kept in a cache, and there whole or not at all."""

import os
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eetool.errors import ArtefactError, MissingError, OutputError
from eetool.progress import SILENT, Advance, Progress
from eetool.records import write_directory

CACHE = "EETOOL_CACHE"  # environment variable: another folder for the cache
_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30
_AGAIN = "Try again later, or download it yourself and give its folder, such as cifar10:DIR."


@dataclass(frozen=True)
class Archive:
    """A file on a server; `md5` is the only hash that all of them publish. A tar archive holds `folder`."""

    url: str
    md5: str
    folder: str | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


# Hashes: of CIFAR those on https://www.cs.toronto.edu/~kriz/cifar.html; SVHN's page has none, torchvision's are used.
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
    """The folder of the official files of `source`, downloaded where they are not in the cache.

    Raises:
        MissingError: pooch is not installed.
        ArtefactError: the server does not answer, breaks off, or sends something else than the hash says.
        OutputError: the cache cannot be written to.
    """
    place = cache_folder() / source
    for archive in OFFICIAL[source]:
        fetch(archive, place, progress)
    return place


def is_downloaded(source: str) -> bool:
    """Whether all official files of `source` are in the cache."""
    place = cache_folder() / source
    return all((place / (archive.folder or archive.name)).exists() for archive in OFFICIAL[source])


def cache_folder() -> Path:
    """Where downloads are kept: `EETOOL_CACHE`, or the place that the system has for such things."""
    return Path(os.environ[CACHE]) if os.environ.get(CACHE) else Path(_pooch().os_cache("eetool"))


def fetch(archive: Archive, place: Path, progress: Progress = SILENT) -> Path:
    """The file of `archive`, or the folder that it unpacks to, in `place`; what is there already is not fetched."""
    target = place / (archive.folder or archive.name)
    if target.is_dir():  # it got its name when it was whole
        return target
    file = _download(archive, place, progress)
    if archive.folder is None:
        return file
    try:
        with write_directory(target) as folder:
            _unpack(file, archive.folder, folder)
    except OutputError:
        if not target.is_dir():  # else another run was faster
            raise
    file.unlink(missing_ok=True)
    return target


def _download(archive: Archive, place: Path, progress: Progress) -> Path:
    pooch = _pooch()
    pooch.get_logger().setLevel("ERROR")  # what it has to say, the bar says
    with _Bar(f"downloading {archive.name}", progress) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S)
        try:
            found = pooch.retrieve(
                archive.url, f"md5:{archive.md5}", fname=archive.name, path=place, downloader=downloader
            )
        except OSError as error:  # the errors of requests are among them
            raise ArtefactError(f"{archive.url}: could not be downloaded: {_reason(error)}", _AGAIN) from None
        except ValueError:  # pooch's word for another hash; the file is gone again
            raise ArtefactError(
                f"{archive.url}: what came is not the official file: its MD5 is not {archive.md5}", _AGAIN
            ) from None
    return Path(found)


def _reason(error: OSError) -> str:
    """The innermost cause says it shortest."""
    reason: BaseException = error
    while reason.__cause__ is not None or reason.__context__ is not None:
        reason = reason.__cause__ or reason.__context__ or reason
    return str(error.strerror or reason or type(error).__name__)


def _unpack(file: Path, inside: str, folder: Path) -> None:
    """The files of the folder `inside` the archive; the filter `data` lets nothing out of `folder`."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                if member.isfile() and member.name.startswith(f"{inside}/"):
                    member.name = member.name.removeprefix(f"{inside}/")
                    archive.extract(member, folder, filter="data")
    except tarfile.TarError as error:
        raise ArtefactError(f"{file}: cannot be unpacked: {error}", _AGAIN) from None


class _Bar:
    """What pooch tells a progress bar, told to ours, which begins when the size is known."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what, self._progress, self._stack = what, progress, ExitStack()
        self._advance: Advance = lambda steps: None
        self._left = 0

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def total(self) -> int:
        """Bytes to come."""
        return self._left

    @total.setter
    def total(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._advance = self._stack.enter_context(self._progress(self._what, size_bytes))

    def update(self, size_bytes: int) -> None:
        """So many bytes came; the last chunk is smaller than it is said to be."""
        step = min(size_bytes, self._left)
        self._left -= step
        self._advance(step)

    def reset(self) -> None:
        """Nothing: pooch fills its bar once more at the end."""

    def close(self) -> None:
        """Nothing: the block closes it."""


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError:
        raise MissingError(
            "the package pooch is not installed, which downloads data",
            "Install it: pip install pooch. Or give the folder of the files, such as cifar10:DIR.",
        ) from None
    return pooch
