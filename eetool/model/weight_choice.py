"""Choice of the tensors in a file that are those of a network: by their names and shapes, before any value is used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eetool.errors import ArtefactError, UsageError
from eetool.model.backbones.published_names import PublishedNames
from eetool.model.built_in_match import find_built_in
from eetool.model.needed_tensors import NeededTensors, is_inside
from eetool.model.weight_files import HINT
from eetool.model.weight_names import State, StoredState, find_states, nearest_names
from eetool.model.weight_values import COUNTER, join_shown

_SHOWN = 6  # missing names whose nearest ones are listed


@dataclass(frozen=True)
class ChosenState:
    """Tensors of a file by the names of the network, and whose names they had there; None for the network's own."""

    state: StoredState
    published: PublishedNames | None = None

    def __str__(self) -> str:
        names = self.published
        renamed = names is not None and any(name != own for name, own in names.own.items())
        said = f"the names are those of {names.source}" if names is not None and renamed else ""
        return "; ".join(part for part in (str(self.state), said) if part)


def choose_state(
    stored: Any, needed: NeededTensors, path: Path, key: str | None = None, without: str | None = None
) -> ChosenState:
    """Return the tensors in a file with exactly the names and shapes that are needed.

    Args:
        stored: what the file holds.
        needed: the tensors.
        path: the file, for messages.
        key: where in the file the network lies, for files with several.
        without: a module whose tensors are not used.

    Raises:
        ArtefactError: there is none; the message lists the differences.
        UsageError: there are several with other values, or none at `key`.
    """
    states = states_of(stored, needed.is_known, path)
    inside = [state for state in states if key is None or state.is_at(key)]
    if not inside:
        known = [state for state in states if state.known] or states
        raise UsageError(f"{path} holds no tensors of the network at {key!r}", f"It holds: {_places(known)}.")
    return choose_among([_translated(state, needed, without) for state in inside], needed, path, stored)


def choose_among(choices: Sequence[ChosenState], needed: NeededTensors, path: Path, stored: Any = None) -> ChosenState:
    """Return the one of several states that fits; raises as `choose_state`."""
    named = [choice for choice in choices if not any(differences(choice.state.tensors, needed.tensors))]
    fitting = [c for c in named if needed.any_shape or not other_shapes(c.state.tensors, needed.tensors)]
    if not fitting:
        raise _misfit(path, (named or choices)[0].state, needed, stored)
    distinct: list[ChosenState] = []
    for choice in fitting:
        if not any(choice.state.equals(other.state) for other in distinct):
            distinct.append(choice)
    if len(distinct) > 1:
        hint = f"Such as --weights-key {distinct[-1].state.place}."
        raise UsageError(f"{path} holds several networks: {_places([c.state for c in distinct])}", hint)
    return fitting[0]


def states_of(stored: Any, is_known: Any, path: Path) -> list[StoredState]:
    """Return all states in a file, see `find_states`; raises ArtefactError where there is none."""
    states = find_states(stored, is_known)
    if not states:
        raise ArtefactError(f"{path}: not a state dict: tensors by name", HINT)
    return states


def check_alike(states: Sequence[StoredState], path: Path) -> None:
    """Raise UsageError where states of one file differ."""
    if any(not state.equals(states[0]) for state in states[1:]):
        raise UsageError(f"{path} holds several networks: {_places(states)}", "Save one of them alone: torch.save(…).")


def differences(stored: State, expected: State) -> tuple[list[str], list[str]]:
    """Return the names of the network that are missing, and the stored ones that it does not have."""
    complete = with_tied(stored, expected)
    missing = [name for name in expected if name not in complete and not name.endswith(COUNTER)]
    return missing, [name for name in stored if name not in expected]


def other_shapes(stored: State, expected: State) -> list[str]:
    """Return the names of tensors that have another shape in the network."""
    return [name for name, x in expected.items() if name in stored and stored[name].shape != x.shape]


def with_tied(stored: State, expected: State) -> State:
    """Add the second name of tied tensors, which some formats store once."""
    places = {expected[name].data_ptr(): tensor for name, tensor in stored.items() if name in expected}
    absent = {name: x.data_ptr() for name, x in expected.items() if name not in stored and x.numel()}
    tied = {name: places[place] for name, place in absent.items() if place in places}
    return {**stored, **tied}


def _translated(state: StoredState, needed: NeededTensors, without: str | None) -> ChosenState:
    """Return a state by the names of the network, without the tensors of a module."""
    own = sum(name in needed.tensors for name in state.tensors)
    published = None
    for names in needed.published:
        count = sum(name in names.own for name in state.tensors)
        same = all(name == other for name, other in names.own.items())
        if count > own or (same and count == own > 0):
            published, own = names, count
    tensors = published.translate(state.tensors, needed.tensors) if published is not None else state.tensors
    left = {name: x for name, x in tensors.items() if not is_inside(name, without)}
    return ChosenState(replace(state, tensors=left), published)


def _places(states: Sequence[StoredState]) -> str:
    return ", ".join(dict.fromkeys(state.place or "(the file itself)" for state in states))


def _misfit(path: Path, state: StoredState, needed: NeededTensors, whole: Any) -> ArtefactError:
    """Return the error that lists how a state differs from the network."""
    stored, expected = state.tensors, needed.tensors
    (missing, unexpected), other = differences(stored, expected), other_shapes(stored, expected)
    near = nearest_names(missing[:_SHOWN], expected, {name: stored[name] for name in unexpected})
    shapes = [f"{n} {list(stored[n].shape)} where {list(expected[n].shape)} is needed" for n in other]
    lists = {"missing": [*near, *missing[_SHOWN:]], "unexpected": unexpected, "of another shape": shapes}
    parts = [f"{what}: {join_shown(names)}" for what, names in lists.items() if names]
    place = f" (at {state.place!r})" if state.place else ""
    hint = _classifier_hint(stored, needed, other) if not missing and not unexpected else None
    return ArtefactError(
        f"{path}{place} does not fit the backbone:\n  " + "\n  ".join(parts), hint or _built_in_hint(whole)
    )


def _classifier_hint(stored: State, needed: NeededTensors, names: list[str]) -> str | None:
    """Return the hint for the case that only the size of the classifier differs, else None."""
    expected, classes = needed.tensors, needed.classes
    sizes = {stored[n].shape[0] if stored[n].ndim else 0 for n in names}
    fits = all(
        expected[n].ndim and expected[n].shape[0] == classes and stored[n].shape[1:] == expected[n].shape[1:]
        for n in names
    )
    if not fits or len(sizes) != 1:
        return None
    made_for = sizes.pop()
    if needed.keeps_classes:
        return f"It was made for {made_for} classes, which --classes {made_for} keeps."
    return f"It was made for {made_for} classes: --new-classifier fits another one on the training examples."


def _built_in_hint(stored: Any) -> str | None:
    """Return the hint with the built-in network that a file fits; None without one."""
    name = find_built_in(stored)
    return None if name is None else f"It fits the built-in network {name}: give that as MODEL."
