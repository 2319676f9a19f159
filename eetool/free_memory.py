"""Memory that is free, and checks of what fits into it."""

from pathlib import Path

from eetool.errors import OutputError

_COPIES = 3  # an engine holds weights as read, the same in its own layout, and activations; an upper bound
_SHARE = 0.5  # of the free memory
_UNKNOWN = 2 * 2**30  # bytes that are taken as free where the system does not say it


def available_bytes(root: Path = Path("/")) -> int:
    """Return the memory that processes can still take without swapping, from `/proc/meminfo`."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return _UNKNOWN
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    kibibytes = fields.get("MemAvailable", "").removesuffix("kB").strip()
    return int(kibibytes) * 1024 if kibibytes.isdecimal() else _UNKNOWN


def require_free(size_bytes: int, what: str, hint: str, available: int | None = None) -> None:
    """Raise OutputError where `what`, of this size, does not fit into the free memory.

    Without this check Linux would end the process, or another one, without a word.
    """
    free = available_bytes() if available is None else available
    if size_bytes > free:
        raise OutputError(f"{what} take {size_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free", hint)


def fits_in_memory(graphs_bytes: int, available: int | None = None) -> bool:
    """Return whether graph files of this size can be loaded together; without `available`, in what is free now."""
    available = available_bytes() if available is None else available
    return graphs_bytes * _COPIES <= available * _SHARE
