"""Weights of a backbone from safetensors or a state dict, never run as code: `--weights FILE`.

From a model.pt the exits are loaded as well, where the new network has the same exits.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from eetool.errors import ArtefactError, UsageError
from eetool.model.early_exit import EarlyExitNet
from eetool.model.module_state import load_state
from eetool.model.weight_files import HINT, read_weights_file
from eetool.model.weight_names import State, StoredState, find_states, nearest_names
from eetool.model.weight_values import COUNTER, check_values, convert, join_shown
from eetool.progress import SILENT, Progress

_OURS = (("state", "record"), ("net", "run"))  # keys of the tensors and the record in a model.pt and model.pt.resume
_BACKBONE = "backbone."
_CONFIDENCE = "confidence."  # confidence head of an exit, which only some recipes have
_SHOWN = 6  # missing names whose nearest ones are listed


def load_weights(
    net: EarlyExitNet, path: Path, classes: int, progress: Progress = SILENT, key: str | None = None
) -> int:
    """Load every tensor of the backbone, and exits where the file has them.

    From a model.pt, or the resume file of an interrupted run, exits at the same taps with the same layers are loaded.
    A confidence head is loaded where both have one. In other files the network may lie inside dictionaries, and its
    names may have a common beginning, such as `state_dict` and `model.`.

    Args:
        net: the network, changed in place.
        path: the file.
        classes: number of classes, for the hint of an error.
        progress: receives a note on what was taken and what was converted.
        key: where in the file the network lies, for files with several.

    Returns:
        Number of exits loaded.

    Raises:
        ArtefactError: the file cannot be read; the names or shapes of the backbone's tensors differ, which the message
            lists; or their values cannot be computed with, see `eetool.model.weight_values`.
        UsageError: there are several networks in the file, or none at `key`.
    """
    stored = read_weights_file(path)
    taps, state = _our_exits(stored, path)
    expected = net.backbone.state_dict()
    if state and key is not None:
        raise UsageError(f"{path} is a model of eetool, which holds one network", "Leave --weights-key out.")
    if state:
        tensors = {name.removeprefix(_BACKBONE): x for name, x in state.items() if name.startswith(_BACKBONE)}
        chosen = _chosen([StoredState("", tensors, len(tensors))], expected, path, classes, None)
    else:
        chosen = _chosen(_states(stored, expected.__contains__, path), expected, path, classes, key)
        if str(chosen):
            progress.note(f"{path}: {chosen}")
    tensors, notes = convert(_expected_part(chosen.tensors, expected), expected, str(path))
    for note in notes:
        progress.note(f"{path}: {note}")
    load_state(net.backbone, {**expected, **tensors})
    loaded = _load_exits(net, taps, state, path)
    if loaded:
        progress.note(f"{loaded} of {len(net.taps)} early exits begin with those of {path}")
    return loaded


def read_tensors(path: Path, is_known: Callable[[str], bool]) -> State:
    """Read the tensors of a network by name, without the dictionaries that training scripts wrap them in.

    Raises:
        ArtefactError: the file cannot be read or holds no known name.
        UsageError: it holds several networks.
    """
    states = [state for state in _states(read_weights_file(path), is_known, path) if state.known]
    if not states:
        raise ArtefactError(f"{path}: holds no tensor with a name of this network")
    best = [state for state in states if state.known == states[0].known]
    if any(not state.equals(best[0]) for state in best[1:]):
        raise UsageError(f"{path} holds several networks: {_places(best)}", "Save one of them alone: torch.save(…).")
    return best[0].tensors


def _states(stored: Any, is_known: Callable[[str], bool], path: Path) -> list[StoredState]:
    states = find_states(stored, is_known)
    if not states:
        raise ArtefactError(f"{path}: not a state dict: tensors by name", HINT)
    return states


def _chosen(states: Sequence[StoredState], expected: State, path: Path, classes: int, key: str | None) -> StoredState:
    """Return the state with exactly the names and shapes of `expected`.

    Raises:
        ArtefactError: there is none.
        UsageError: there are several with other values, or none at `key`.
    """
    inside = [state for state in states if key is None or state.is_at(key)]
    if not inside:
        known = [state for state in states if state.known] or states
        raise UsageError(f"{path} holds no tensors of the network at {key!r}", f"It holds: {_places(known)}.")
    named = [state for state in inside if not any(_differences(state.tensors, expected))]
    fitting = [state for state in named if not _other_shapes(state.tensors, expected)]
    if not fitting:
        raise _misfit(path, (named or inside)[0], expected, classes)
    distinct: list[StoredState] = []
    for state in fitting:
        if not any(state.equals(other) for other in distinct):
            distinct.append(state)
    if len(distinct) > 1:
        hint = f"Such as --weights-key {distinct[-1].place}."
        raise UsageError(f"{path} holds several networks: {_places(distinct)}", hint)
    return fitting[0]


def _places(states: Sequence[StoredState]) -> str:
    return ", ".join(dict.fromkeys(state.place or "(the file itself)" for state in states))


def _differences(stored: State, expected: State) -> tuple[list[str], list[str]]:
    """Return the names of the network that are missing, and the stored ones that it does not have."""
    complete = _with_tied(stored, expected)
    missing = [name for name in expected if name not in complete and not name.endswith(COUNTER)]
    return missing, [name for name in stored if name not in expected]


def _other_shapes(stored: State, expected: State) -> list[str]:
    return [name for name, x in expected.items() if name in stored and stored[name].shape != x.shape]


def _expected_part(stored: State, expected: State) -> State:
    return {name: x for name, x in _with_tied(stored, expected).items() if name in expected}


def _misfit(path: Path, state: StoredState, expected: State, classes: int) -> ArtefactError:
    """Return the error that lists how a state differs from the network."""
    stored = state.tensors
    (missing, unexpected), other = _differences(stored, expected), _other_shapes(stored, expected)
    near = nearest_names(missing[:_SHOWN], expected, {name: stored[name] for name in unexpected})
    shapes = [f"{n} {list(stored[n].shape)} where {list(expected[n].shape)} is needed" for n in other]
    lists = {"missing": [*near, *missing[_SHOWN:]], "unexpected": unexpected, "of another shape": shapes}
    parts = [f"{what}: {join_shown(names)}" for what, names in lists.items() if names]
    place = f" (at {state.place!r})" if state.place else ""
    return ArtefactError(
        f"{path}{place} does not fit the backbone:\n  " + "\n  ".join(parts),
        _classifier_hint(stored, expected, other, classes) if not missing and not unexpected else None,
    )


def _load_exits(net: EarlyExitNet, taps: Sequence[str], state: State, path: Path) -> int:
    taken = 0
    for tap, branch in net.branches.items():
        prefix = f"exits.{taps.index(tap)}." if tap in taps else None
        own = branch.state_dict()
        stored = {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)} if prefix else {}
        if stored and _shapes(stored) == _shapes(own):
            check_values(stored, f"{path}, exit at {tap}")
            branch.load_state_dict({name: stored.get(name, tensor) for name, tensor in own.items()})
            taken += 1
    return taken


def _our_exits(stored: Any, path: Path) -> tuple[list[str], State]:
    """Return the taps and tensors of a file of eetool; empty for other files.

    Raises:
        UsageError: it is a cascade of networks.
    """
    if not isinstance(stored, dict):
        return [], {}
    try:
        ours = "record" in stored
        spec = json.loads(stored["record"])["spec"] if ours else stored["run"]
        if spec.get("members"):
            raise UsageError(f"{path} is a cascade of networks", "Give the model.pt of one network of it.")
        taps = spec["taps"]
        state = stored["state" if ours else "net"]
        return list(taps), {name: x for name, x in state.items() if isinstance(x, Tensor)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return [], {}


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an exit's tensors, without its confidence head."""
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.startswith(_CONFIDENCE)}


def _with_tied(stored: State, expected: State) -> State:
    """Add the second name of tied tensors, which some formats store once."""
    places = {expected[name].data_ptr(): tensor for name, tensor in stored.items() if name in expected}
    absent = {name: x.data_ptr() for name, x in expected.items() if name not in stored and x.numel()}
    tied = {name: places[place] for name, place in absent.items() if place in places}
    return {**stored, **tied}


def _classifier_hint(stored: State, expected: State, names: list[str], classes: int) -> str | None:
    """Return the hint for the case that only the size of the classifier differs, else None."""
    sizes = {stored[n].shape[0] if stored[n].ndim else 0 for n in names}
    fits = all(
        expected[n].ndim and expected[n].shape[0] == classes and stored[n].shape[1:] == expected[n].shape[1:]
        for n in names
    )
    if not fits or len(sizes) != 1:
        return None
    made_for = sizes.pop()
    return f"It was made for {made_for} classes: give data of that many, or without data --classes {made_for}."
