"""Notes about files: what a reader skipped, converted or found odd, counted for the user."""

from collections.abc import Mapping
from pathlib import Path


class FileNotes:
    """Files by what was done to them, in the order in which that first happened."""

    def __init__(self) -> None:
        self._files: dict[str, dict[Path, str]] = {}

    def add(self, what: str, path: Path, before: str = "") -> None:
        """Count the file at `path` under `what`, once; `before` is what the file was then, such as its size."""
        self._files.setdefault(what, {})[path] = before

    def lines(self) -> tuple[str, ...]:
        """Return one line for each kind, with the number of files and the first of them."""
        return tuple(_line(what, files) for what, files in self._files.items())


def _line(what: str, files: Mapping[Path, str]) -> str:
    path, before = next(iter(files.items()))
    first = str(path)
    shown = first if first.isprintable() else ascii(first)  # a line break in a name must not begin another line
    if len(files) > 1:
        return f"{what}: {len(files)} files, the first is {shown}" + (f", {before}" if before else "")
    return f"{shown}: {before} {what}" if before else f"{what}: {shown}"
