"""Standard output and standard error that accept every string in any encoding and report when they are closed."""

import codecs
import io
import os
import sys
import warnings
from typing import Any, TextIO

from eetool.printable_text import escape, visible

_HANDLER = "eetool.plain"
# Replacements on terminals without these characters; all other characters become escapes.
_PLAIN = {
    **{"×": "x", "…": "...", "–": "-", "−": "-", "·": "|", "→": "->", "±": "+/-", "µ": "u", "°": " deg", "²": "^2"},
    **{"─": "-", "│": "|", "├": "|", "└": "`"},
}


class LostOutputError(Exception):
    """Standard output could not be written; `error` is the reason."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Stdout(io.FileIO):
    """Standard output; raises LostOutputError, which no other file raises."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            _to_nowhere(self.fileno(), os.O_WRONLY)  # or the last flush, at exit, would fail once more
            raise LostOutputError(error) from None


class _Stderr(io.FileIO):
    """Standard error; drops text that cannot be written, as lost notes must not end the work."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Make both streams accept every string, and open those that the caller closed."""
    sys.stdout = _prepared(sys.stdout, sys.__stdout__, 1, _Stdout)
    sys.stderr = _prepared(sys.stderr, sys.__stderr__, 2, _Stderr)


def _prepared(stream: TextIO | None, own: TextIO | None, descriptor: int, raw: type[io.FileIO]) -> TextIO:
    if stream is None:
        _to_nowhere(descriptor, os.O_RDONLY)  # writing to it fails, as to a closed pipe
        return io.TextIOWrapper(io.BufferedWriter(raw(descriptor, "w", closefd=False)), "utf-8", _HANDLER)
    if stream is not own or not isinstance(stream, io.TextIOWrapper):  # a test's, or another program's
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)
        return stream
    stream.flush()
    warnings.formatwarning = _visible_warning
    return io.TextIOWrapper(
        io.BufferedWriter(raw(descriptor, "w", closefd=False)),
        stream.encoding,
        _HANDLER,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def legible(text: str, stream: TextIO | None = None) -> str:
    """Return `text` as `stream` (default: stdout) can show it, without control characters."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return visible(text).encode(encoding, _HANDLER).decode(encoding)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    refused = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character) or escape(character) for character in refused), error.end


codecs.register_error(_HANDLER, _plain)
_format_warning = warnings.formatwarning


def _visible_warning(*arguments: Any, **named: Any) -> str:
    return visible(_format_warning(*arguments, **named))


def _to_nowhere(descriptor: int, flags: int) -> None:
    nowhere = os.open(os.devnull, flags)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
