"""Weights of a backbone from safetensors or a state dict, never run as code: `--weights FILE`.

From a model.pt the exits are loaded as well, where the new network has the same exits.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError
from eetool.model.early_exit import EarlyExitNet
from eetool.records import open_regular

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_OURS = (("state", "record"), ("net", "run"))  # keys of the tensors and the record in a model.pt and model.pt.resume
_BACKBONE = "backbone."
_CONFIDENCE = "confidence."  # confidence head of an exit, which only some recipes have
_COUNTERS = ".num_batches_tracked"  # older files lack them, and they are not used
_SHOWN = 6
_HINT = "A safetensors file, a state dict saved by torch.save, or a model.pt is needed."


def load_weights(net: EarlyExitNet, path: Path, classes: int) -> int:
    """Load every tensor of the backbone, and exits where the file has them.

    From a model.pt, or the resume file of an interrupted run, exits at the same taps with the same layers are loaded.
    A confidence head is loaded where both have one.

    Args:
        net: the network, changed in place.
        path: the file.
        classes: number of classes, for the hint of an error.

    Returns:
        Number of exits loaded.

    Raises:
        ArtefactError: the file cannot be read, or the names or shapes of the backbone's tensors differ. The message
            lists the differences.
    """
    stored = _read(path)
    _load_backbone(net.backbone, _tensors(stored, path), path, classes)
    return _load_exits(net, *_our_exits(stored))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a backbone by name, without the dictionaries that training scripts wrap them in."""
    return _tensors(_read(path), path)


def _load_backbone(backbone: nn.Module, stored: dict[str, Tensor], path: Path, classes: int) -> None:
    expected = backbone.state_dict()
    stored = _with_tied(stored, expected)
    missing = [name for name in expected if name not in stored and not name.endswith(_COUNTERS)]
    unexpected = [name for name in stored if name not in expected]
    other = [name for name in expected if name in stored and stored[name].shape != expected[name].shape]
    if missing or unexpected or other:
        shapes = [f"{n} {list(stored[n].shape)} where {list(expected[n].shape)} is needed" for n in other]
        parts = [_list("missing", missing), _list("unexpected", unexpected), _list("of another shape", shapes)]
        raise ArtefactError(
            f"{path} does not fit the backbone:\n  " + "\n  ".join(filter(None, parts)),
            _classifier_hint(stored, expected, other, classes) if not missing and not unexpected else None,
        )
    backbone.load_state_dict({name: stored.get(name, tensor) for name, tensor in expected.items()})


def _load_exits(net: EarlyExitNet, taps: Sequence[str], state: dict[str, Tensor]) -> int:
    taken = 0
    for tap, branch in zip(net.taps, net.exits, strict=True):
        prefix = f"exits.{taps.index(tap)}." if tap in taps else None
        own = branch.state_dict()
        stored = {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)} if prefix else {}
        if stored and _shapes(stored) == _shapes(own):
            branch.load_state_dict({name: stored.get(name, tensor) for name, tensor in own.items()})
            taken += 1
    return taken


def _our_exits(stored: Any) -> tuple[list[str], dict[str, Tensor]]:
    """Return the taps and tensors of a file of eetool; empty for other files."""
    try:
        ours = "record" in stored
        taps = json.loads(stored["record"])["spec"]["taps"] if ours else stored["run"]["taps"]
        state = stored["state" if ours else "net"]
        return list(taps), {name: x for name, x in state.items() if isinstance(x, Tensor)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return [], {}


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an exit's tensors, without its confidence head."""
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.startswith(_CONFIDENCE)}


def _tensors(stored: Any, path: Path) -> dict[str, Tensor]:
    for key, beside in _OURS:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict) and beside in stored:
            inside = {name: x for name, x in stored[key].items() if name.startswith(_BACKBONE)}
            stored = {name.removeprefix(_BACKBONE): x for name, x in inside.items()}
    for key in _WRAPPERS:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    if not isinstance(stored, dict) or not stored or not all(isinstance(x, Tensor) for x in stored.values()):
        raise ArtefactError(f"{path}: not a state dict: tensors by name", _HINT)
    wrapped = all(str(name).startswith("module.") for name in stored)  # saved from inside DataParallel
    return {str(name).removeprefix("module." if wrapped else ""): tensor for name, tensor in stored.items()}


def _read(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            head = file.read(9)
        if head[8:] == b"{":  # safetensors: the length of the header, and then the header, which is JSON
            from safetensors.torch import load_file

            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # torch, zipfile and safetensors raise many unrelated types
        raise ArtefactError(f"{path}: holds no tensors that can be read safely", _HINT) from error


def _with_tied(stored: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the second name of tied tensors, which some formats store once."""
    places = {expected[name].data_ptr(): tensor for name, tensor in stored.items() if name in expected}
    absent = {name: x.data_ptr() for name, x in expected.items() if name not in stored and x.numel()}
    tied = {name: places[place] for name, place in absent.items() if place in places}
    return {**stored, **tied}


def _list(what: str, names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(names[:_SHOWN])}{more}" if names else ""


def _classifier_hint(
    stored: dict[str, Tensor], expected: dict[str, Tensor], names: list[str], classes: int
) -> str | None:
    """Return the hint for the case that only the size of the classifier differs, else None."""
    sizes = {stored[n].shape[0] if stored[n].ndim else 0 for n in names}
    fits = all(
        expected[n].ndim and expected[n].shape[0] == classes and stored[n].shape[1:] == expected[n].shape[1:]
        for n in names
    )
    return f"It was made for {sizes.pop()} classes: give --classes of that size." if fits and len(sizes) == 1 else None
