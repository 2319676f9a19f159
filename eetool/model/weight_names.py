"""Names of stored tensors: the wrappers of training scripts around a network, and the names nearest to missing ones."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_AVERAGES = "n_averaged"  # counter of averaged weights
_DEPTH = 4  # of nested dictionaries
_BEGINNINGS = 16  # of names, at most, that are tried in one dictionary
# Parts of names that compilation, parallel training and checkpointing of activations insert before a module's own.
_INSERTED = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

State = dict[str, Tensor]


@dataclass(frozen=True)
class StoredState:
    """Tensors of one network in a file.

    Attributes:
        place: keys of the dictionaries around them and the common beginning of their names, joined by dots; empty where
            the file holds them as they are.
        tensors: by their names in the network.
        known: number of names that the network has.
        others: number of further tensors in the same dictionary.
        inserted: parts that were removed from inside the names.
    """

    place: str
    tensors: State
    known: int
    others: int = 0
    inserted: tuple[str, ...] = ()

    def is_at(self, key: str) -> bool:
        """Return whether the tensors are at `key`, or inside of it."""
        return f"{self.place}.".startswith(f"{key.rstrip('.')}.")

    def equals(self, other: "StoredState") -> bool:
        """Return whether both have the same names and values."""
        same = self.tensors.keys() == other.tensors.keys()
        return same and all(_are_equal(x, other.tensors[name]) for name, x in self.tensors.items())

    def __str__(self) -> str:
        parts = [f"the weights are those of {self.place!r}"] if self.place else []
        parts += [f"names are read without {', '.join(map(repr, self.inserted))}"] if self.inserted else []
        return "; ".join(parts + ([f"{self.others} other tensors beside them are not used"] if self.others else []))


def find_states(stored: Any, is_known: Callable[[str], bool]) -> list[StoredState]:
    """Return all states in a file that may be those of a network, with the most known names first; some have none.

    Args:
        stored: nested dictionaries with tensors.
        is_known: whether a name is one of the network's tensors.
    """
    found = [
        state
        for place, tensors in _dictionaries(stored, (), set())
        for named, inserted in _spellings(tensors)
        for state in _beginnings(place, named, inserted, is_known)
    ]
    return sorted(found, key=lambda state: -state.known)


def nearest_names(missing: Sequence[str], expected: Mapping[str, Tensor], stored: State) -> list[str]:
    """Return each missing name, with the nearest one of the same shape among `stored`."""

    def with_nearest(name: str) -> str:
        same = [other for other, x in stored.items() if x.shape == expected[name].shape]
        near = difflib.get_close_matches(name, same, 1)
        return f"{name} (nearest: {near[0]})" if near else name

    return list(map(with_nearest, missing))


def _dictionaries(value: Any, keys: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], State]]:
    """Yield the dictionaries with named tensors, outer ones first, each once."""
    if not isinstance(value, dict) or id(value) in seen or len(keys) > _DEPTH:
        return
    seen.add(id(value))
    named = {key: inner for key, inner in value.items() if isinstance(key, str)}
    tensors = {key: inner for key, inner in named.items() if isinstance(inner, Tensor) and key != _AVERAGES}
    if tensors:
        yield keys, tensors
    for key, inner in named.items():
        yield from _dictionaries(inner, (*keys, key), seen)


def _spellings(tensors: State) -> Iterator[tuple[State, tuple[str, ...]]]:
    """Yield the tensors as they are named, and without inserted parts unless two then have one name."""
    yield tensors, ()
    own = {".".join(part for part in name.split(".") if part not in _INSERTED): x for name, x in tensors.items()}
    if own.keys() != tensors.keys() and len(own) == len(tensors):
        parts = {part for name in tensors for part in name.split(".")}
        yield own, tuple(part for part in _INSERTED if part in parts)


def _beginnings(
    keys: tuple[str, ...], tensors: State, inserted: tuple[str, ...], is_known: Callable[[str], bool]
) -> Iterator[StoredState]:
    """Yield all tensors, and those that share a beginning of their names, for those before the most known names."""
    counts: Counter[str] = Counter()
    for name in tensors:
        ends = [0, *(place + 1 for place, character in enumerate(name) if character == ".")]
        counts.update(name[:end] for end in ends if is_known(name[end:]))
    for beginning, known in {**dict(counts.most_common(_BEGINNINGS)), "": counts[""]}.items():
        inside = {name.removeprefix(beginning): x for name, x in tensors.items() if name.startswith(beginning)}
        place = ".".join((*keys, *([beginning.rstrip(".")] if beginning else [])))
        yield StoredState(place, inside, known, len(tensors) - len(inside), inserted)


def _are_equal(first: Tensor, second: Tensor) -> bool:
    plain = first.dtype == second.dtype and not first.is_quantized and first.layout == second.layout == torch.strided
    return first is second or (plain and torch.equal(first, second))
