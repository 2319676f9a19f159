"""Weights of a backbone from safetensors or a state dict, never run as code: `--weights FILE`.

From a model.pt the exits are loaded as well, where the new network has the same exits.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eetool.errors import ArtefactError, UsageError
from eetool.model.backbones.published_names import Normalisation, PublishedNames
from eetool.model.early_exit import EarlyExitNet
from eetool.model.module_state import load_state
from eetool.model.needed_tensors import NeededTensors, is_inside, needed_tensors
from eetool.model.weight_choice import ChosenState, check_alike, choose_among, choose_state, states_of, with_tied
from eetool.model.weight_files import read_weights_file
from eetool.model.weight_names import State, StoredState
from eetool.model.weight_values import check_values, convert
from eetool.progress import SILENT, Progress

_OURS = (("state", "record"), ("net", "run"))  # keys of the tensors and the record in a model.pt and model.pt.resume
_BACKBONE = "backbone."
_CONFIDENCE = "confidence."  # confidence head of an exit, which only some recipes have


@dataclass(frozen=True)
class LoadedWeights:
    """Result of a load: the number of exits loaded, and whose names the file has; None for those of the network."""

    exits: int
    published: PublishedNames | None = None


def load_weights(
    net: EarlyExitNet,
    path: Path,
    classes: int,
    progress: Progress = SILENT,
    key: str | None = None,
    without: str | None = None,
    keeps_classes: bool = False,
) -> LoadedWeights:
    """Load every tensor of the backbone, and exits where the file has them.

    From a model.pt, or the resume file of an interrupted run, exits at the same taps with the same layers are loaded.
    A confidence head is loaded where both have one. In other files the network may lie inside dictionaries, and its
    names may have a common beginning, such as `state_dict` and `model.`. Tensors of a built-in network may have the
    names of a publisher, see `eetool.model.backbones.published_names`.

    Args:
        net: the network, changed in place.
        path: the file.
        classes: number of classes, for the hint of an error.
        progress: receives a note on what was taken and what was converted.
        key: where in the file the network lies, for files with several.
        without: a module of the backbone that keeps its weights, such as the classifier; exits do so then, too.
        keeps_classes: the number of classes may become that of the file, for the hint of an error.

    Raises:
        ArtefactError: the file cannot be read; the names or shapes of the backbone's tensors differ, which the message
            lists; or their values cannot be computed with, see `eetool.model.weight_values`.
        UsageError: there are several networks in the file, or none at `key`.
    """
    stored = read_weights_file(path)
    taps, state = _our_exits(stored, path)
    needed = needed_tensors(net.backbone, classes, without, keeps_classes)
    chosen = _choose(stored, state, needed, path, key, without)
    if str(chosen) and not state:
        progress.note(f"{path}: {chosen}")
    tensors, notes = convert(_expected_part(chosen.state.tensors, needed.tensors), needed.tensors, str(path))
    for note in notes:
        progress.note(f"{path}: {note}")
    load_state(net.backbone, {**net.backbone.state_dict(), **tensors})
    loaded = _load_exits(net, taps, state, path) if without is None else 0
    if loaded:
        progress.note(f"{loaded} of {len(net.taps)} early exits begin with those of {path}")
    return LoadedWeights(loaded, chosen.published)


def check_weights(
    backbone: nn.Module,
    path: Path,
    classes: int,
    key: str | None = None,
    without: str | None = None,
    any_shape: bool = False,
) -> Normalisation | None:
    """Check that a file has the names and shapes of a backbone's tensors, before any data is read.

    Args:
        backbone: the network.
        path: the file.
        classes: number of classes, for the hint of an error; 0 where it is not known.
        key: where in the file the network lies.
        without: a module whose tensors are not compared.
        any_shape: names alone are compared.

    Returns:
        Normalisation that the weights expect: that of the published file whose names it has, or of the model of eetool;
        None where it is not known.

    Raises:
        ArtefactError, UsageError: see `load_weights`.
    """
    stored = read_weights_file(path)
    needed = replace(needed_tensors(backbone, classes, without), any_shape=any_shape)
    published = _choose(stored, _our_exits(stored, path)[1], needed, path, key, without).published
    return _recorded_normalisation(stored) if published is None else published.normalisation


def _choose(
    stored: Any, ours: State, needed: NeededTensors, path: Path, key: str | None, without: str | None
) -> ChosenState:
    if not ours:
        return choose_state(stored, needed, path, key, without)
    if key is not None:
        raise UsageError(f"{path} is a model of eetool, which holds one network", "Leave --weights-key out.")
    tensors = {name.removeprefix(_BACKBONE): x for name, x in ours.items() if name.startswith(_BACKBONE)}
    kept = {name: x for name, x in tensors.items() if not is_inside(name, without)}
    return choose_among([ChosenState(StoredState("", kept, len(kept)))], needed, path, tensors)


def read_tensors(path: Path, is_known: Callable[[str], bool]) -> State:
    """Read the tensors of a network by name, without the dictionaries that training scripts wrap them in.

    Raises:
        ArtefactError: the file cannot be read or holds no known name.
        UsageError: it holds several networks.
    """
    states = [state for state in states_of(read_weights_file(path), is_known, path) if state.known]
    if not states:
        raise ArtefactError(f"{path}: holds no tensor with a name of this network")
    best = [state for state in states if state.known == states[0].known]
    check_alike(best, path)
    return best[0].tensors


def _expected_part(stored: State, expected: State) -> State:
    return {name: x for name, x in with_tied(stored, expected).items() if name in expected}


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


def _recorded_normalisation(stored: Any) -> Normalisation | None:
    """Return the normalisation of a model of eetool; None for other files, and for inputs that are no pixels."""
    try:
        rule = json.loads(stored["record"])["spec"]["inputs"][0]["preprocess"]
        return tuple(map(float, rule["mean"])), tuple(map(float, rule["std"]))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an exit's tensors, without its confidence head."""
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.startswith(_CONFIDENCE)}
