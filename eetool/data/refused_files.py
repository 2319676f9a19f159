"""Files of a data set or of a command that cannot be read: all of them in one message."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from eetool.errors import ArtefactError
from eetool.wording import counted

T = TypeVar("T")
_MOST_NAMED = 10


def value_or_error(read: Callable[[], T]) -> T | ArtefactError:
    """Return what `read` returns, or the ArtefactError that it raises."""
    try:
        return read()
    except ArtefactError as error:
        return error


def refused_files(errors: Sequence[ArtefactError], of: int) -> ArtefactError:
    """Return one error for those of several files: up to ten are named, the others counted.

    Args:
        errors: at least one, each of a file that its message names.
        of: number of all files.
    """
    if len(errors) == 1:
        return errors[0]
    named = "; ".join(error.message for error in errors[:_MOST_NAMED])
    more = f"; and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return ArtefactError(f"{len(errors)} of {counted(of, 'file')} cannot be used: {named}{more}", errors[0].hint)
