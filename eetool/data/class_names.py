"""Names of classes from files: one Unicode form, and names that look alike."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from eetool.names import quote


def composed(name: str) -> str:
    """Return `name` in the composed form of Unicode (NFC); macOS stores names of files in the other one."""
    return unicodedata.normalize("NFC", name)


def first_twice(names: Iterable[str]) -> str | None:
    """Return the first name that occurs a second time, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def lookalikes(names: Sequence[str]) -> Iterator[str]:
    """Yield a warning for every name that equals an earlier one but for case, width of letters or spaces around it."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFKC", name).strip().casefold(), name)
        if other != name:
            yield f"warning: the classes {quote(other)} and {quote(name)} look alike, and are two classes"
