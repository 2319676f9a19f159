"""Reasons for error messages, from exceptions of any library."""

_MAX_LENGTH = 200  # characters


def error_reason(error: BaseException) -> str:
    """Return the reason of `error` as one short line without control characters."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    line = " ".join(text.split())
    printable = line if line.isprintable() else ascii(line)
    return printable if len(printable) <= _MAX_LENGTH else printable[:_MAX_LENGTH] + "…"
