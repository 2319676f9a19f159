"""Notes about files: what a reader skipped, converted or found odd, counted for the user."""

from pathlib import Path


class FileNotes:
    """Files by what was done to them, in the order in which that first happened."""

    def __init__(self) -> None:
        self._files: dict[str, dict[Path, None]] = {}  # the inner ones are ordered sets

    def add(self, what: str, path: Path) -> None:
        """Count the file at `path` under `what`, once."""
        self._files.setdefault(what, {})[path] = None

    def lines(self) -> tuple[str, ...]:
        """Return one line for each kind, with the number of files and the first of them."""
        return tuple(_line(what, tuple(paths)) for what, paths in self._files.items())


def _line(what: str, paths: tuple[Path, ...]) -> str:
    first = str(paths[0])
    shown = first if first.isprintable() else ascii(first)  # a line break in a name must not begin another line
    return f"{what}: {shown}" if len(paths) == 1 else f"{what}: {len(paths)} files, the first is {shown}"
