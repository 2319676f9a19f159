"""What a library said about a damaged file, fit to be shown."""

_MOST = 200  # characters


def reason(error: BaseException) -> str:
    """Return the reason in `error` in one short line without control characters."""
    said = str(getattr(error, "strerror", None) or error) or type(error).__name__
    line = " ".join(said.split())
    shown = line if line.isprintable() else ascii(line)
    return shown if len(shown) <= _MOST else shown[:_MOST] + "…"
