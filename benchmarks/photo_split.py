"""Split of photographs by the hash of their content, and the folders that hold them."""

import hashlib
import tarfile
from collections import Counter
from pathlib import Path, PurePosixPath

SHARES = (("test", 0.25), ("val", 0.15), ("train", 0.60))
_SUFFIXES = (".jpg", ".jpeg", ".png")
_DIGITS = 4  # bytes of the hash


def split_of(content: bytes, salt: str = "") -> str:
    """Return the split of a photograph, which depends on its bytes and the salt alone."""
    digest = hashlib.sha256(salt.encode() + content).digest()
    position = int.from_bytes(digest[:_DIGITS], "big") / 256**_DIGITS
    for name, share in SHARES:
        position -= share
        if position < 0:
            return name
    return SHARES[-1][0]  # the shares add up to 1 but for rounding


def unpack(archive: Path, folder: Path, salt: str = "", limit: int | None = None) -> None:
    """Write the photographs of `archive` to folder/SPLIT/CLASS, at most `limit` of each class."""
    if folder.exists():
        return
    unfinished = folder.with_name(folder.name + ".partial")
    taken: Counter[str] = Counter()
    with tarfile.open(archive) as photographs:
        for member in photographs:
            place = PurePosixPath(member.name)
            if not member.isfile() or place.suffix.lower() not in _SUFFIXES or len(place.parts) < 2:
                continue
            name = place.parts[-2]
            if limit is not None and taken[name] >= limit:
                continue
            taken[name] += 1
            opened = photographs.extractfile(member)
            assert opened is not None  # it is a file
            content = opened.read()
            target = unfinished / split_of(content, salt) / name / place.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    unfinished.rename(folder)


def counts(folder: Path) -> dict[str, int]:
    """Return the number of photographs of each split."""
    return {place.name: sum(1 for _ in place.rglob("*.*")) for place in sorted(folder.iterdir())}
