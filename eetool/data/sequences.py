"""Order of examples in time: sequences such as clips, and the groups that data splits keep whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.wording import counted

GAP_PERIODS = 3.0  # from such a pause on a new sequence begins; a stream's filter is reset there likewise
_HINT = "Examples of one sequence follow each other in the order of time, and a sequence is of one group."


@dataclass(frozen=True)
class Sequences:
    """Order of the N examples of a source.

    Attributes:
        sequence: int64 (N,), number of the sequence of each example. Examples of one follow each other in time.
        group: int64 (N,), number of the group, such as a person or a place. Examples of one are not independent.
        groups: names of the groups.
        period_s: seconds between two examples of a sequence; None where that is not known.
    """

    sequence: np.ndarray
    group: np.ndarray
    groups: tuple[str, ...]
    period_s: float | None = None

    def starts(self, indices: np.ndarray) -> np.ndarray:
        """Return bool (n,), which of the examples at sorted `indices` begin a sequence there."""
        own = self.sequence[indices]
        begins: np.ndarray = np.concatenate([[True], own[1:] != own[:-1]])[: len(own)]
        return begins


def number_sequences(
    where: str, sequence: np.ndarray, group: np.ndarray, period_s: float | None = None, time_s: np.ndarray | None = None
) -> tuple[Sequences, tuple[str, ...]]:
    """Return the order of examples from names of sequences and groups, and notes.

    Args:
        where: file, for messages.
        sequence: (N,) integers or texts.
        group: (N,) integers or texts.
        period_s: seconds between two examples; by default the median of `time_s`.
        time_s: float (N,), time of each example; where it pauses for `GAP_PERIODS` periods, a new sequence begins.

    Raises:
        ArtefactError: a name is none, a sequence is interrupted by another or of two groups, or time goes backwards.
    """
    names, groups = (_names(where, what, array) for what, array in (("sequence", sequence), ("group", group)))
    starts = np.concatenate([[True], names[1:] != names[:-1]])
    known_names: set[str] = set()
    for begin in np.flatnonzero(starts).tolist():
        name = str(names[begin])
        if name in known_names:
            raise ArtefactError(
                f"{where}: the sequence {quote(name)} goes on at example {begin} after another one",
                f"{_HINT} Sort them, or name the parts of an interrupted recording differently.",
            )
        known_names.add(name)
    mixed = np.flatnonzero(~starts & np.concatenate([[False], groups[1:] != groups[:-1]]))
    if len(mixed):
        raise ArtefactError(
            f"{where}: the sequence {quote(str(names[mixed[0]]))} is of two groups from example {mixed[0]} on", _HINT
        )
    notes: tuple[str, ...] = ()
    if time_s is not None:
        period_s, paused = _pauses(where, time_s, starts, period_s)
        if paused.any():
            notes = (f"{counted(int(paused.sum()), 'pause')} of {GAP_PERIODS:g} periods or more: new sequences begin",)
        starts = starts | paused
    known, numbers = np.unique(groups, return_inverse=True)
    order = Sequences(np.cumsum(starts) - 1, numbers.astype(np.int64), tuple(map(str, known)), period_s)
    return order, notes


def _names(where: str, what: str, array: np.ndarray) -> np.ndarray:
    """Return names as texts (N,)."""
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise ArtefactError(
            f"{where}: {what} is {array.dtype} {array.shape}, not integers or texts (N,)",
            "Store one name or number for each example.",
        )
    names = array.astype(str)
    empty = np.flatnonzero(np.char.str_len(names) == 0)
    if len(empty):
        raise ArtefactError(f"{where}: the {what} of example {empty[0]} has no name", "Every example needs one.")
    return names


def _pauses(
    where: str, time_s: np.ndarray, starts: np.ndarray, period_s: float | None
) -> tuple[float | None, np.ndarray]:
    """Return the period, and bool (N,) for examples that come after a pause."""
    if time_s.shape != starts.shape or time_s.dtype.kind not in "iuf":
        raise ArtefactError(f"{where}: time_s is {time_s.dtype} {time_s.shape}", "Store seconds (N,).")
    if not np.isfinite(time_s).all():
        first = int(np.flatnonzero(~np.isfinite(time_s))[0])
        raise ArtefactError(f"{where}: the time of example {first} is not finite", "Every example needs its own.")
    steps = np.concatenate([[0.0], np.diff(time_s.astype(np.float64))])
    inside = ~starts
    if (steps[inside] <= 0).any():
        back = int(np.flatnonzero(inside & (steps <= 0))[0])
        raise ArtefactError(f"{where}: time does not go on at example {back}", f"{_HINT} Sort them by time.")
    if not inside.any():
        return period_s, np.zeros(len(starts), bool)
    median = float(np.median(steps[inside]))
    period_s = median if period_s is None else period_s
    # A pause in units of floating point: a recording at a steady rate must not be cut by rounding.
    return period_s, inside & (steps >= GAP_PERIODS * period_s * (1 - 1e-9))


def join_orders(where: str, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return names of sequences and groups of several sets, one after the other, as texts.

    Sequences of different sets are different ones.

    Raises:
        ArtefactError: a name is none.
    """
    sequences = [np.char.add(f"{i}:", _names(where, "sequence", own)) for i, (own, _) in enumerate(parts)]
    return np.concatenate(sequences), np.concatenate([_names(where, "group", own) for _, own in parts])


def check_sets(where: str, order: Sequences, sizes: Sequence[int]) -> None:
    """Raise ArtefactError where a group has examples in two of the sets of these sizes, such as training and test."""
    sets = np.split(order.group, np.cumsum(sizes)[:-1])
    for i, first in enumerate(sets):
        for second in sets[i + 1 :]:
            both = np.intersect1d(first, second)
            if len(both):
                raise ArtefactError(
                    f"{where}: the group {quote(order.groups[both[0]])} is in two of the training, validation and test "
                    "sets",
                    "Examples of one group are not independent: leave it in one of them.",
                )
