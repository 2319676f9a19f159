"""Places in a network in terms of the user's own code: the module, and the line of its forward."""

import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import fx, nn

import eetool

_NOT_USERS = ("torch.", "eetool.")
_NOT_USERS_FILES = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (torch, eetool))
_FRAME = re.compile(r'File "(.+)", line (\d+)')


def module_names(net: nn.Module) -> dict[int, str]:
    """Return the name of every module by its `id`."""
    return {id(module): name for name, module in net.named_modules()}


def running_place(names: Mapping[int, str]) -> str:
    """Return the place that is running now, as `place_of` does."""
    return place_of(names, _running_frames())


def place_of(names: Mapping[int, str], frames: Iterable[tuple[FrameType, int]]) -> str:
    """Return ` in NAME (CLASS), file.py:12`: the innermost module that runs, and the innermost line of the user.

    Args:
        names: of the network's modules, by `id`.
        frames: frames and their lines, from the outermost inwards.
    """
    module, line = "", ""
    for frame, number in frames:
        running = frame.f_locals.get("self")
        if isinstance(running, nn.Module) and id(running) in names:
            module = module_text(names[id(running)], type(running).__name__) or module
        if is_users(str(frame.f_globals.get("__name__", ""))):
            line = f", {Path(frame.f_code.co_filename).name}:{number}"
    return module + (line if module else "")


def module_text(name: str, kind: str) -> str:
    """Return ` in NAME (CLASS)` with the name that the user knows; empty for the wrappers of eetool."""
    while name.startswith("net."):
        name = name.removeprefix("net.")
    if name == "backbone":
        return f" in the network's own forward ({kind})"
    return f" in {name.removeprefix('backbone.')} ({kind})" if name not in ("", "net") else ""


def traced_place(node: fx.Node) -> str:
    """Return the place of a node that torch.export has traced, as `place_of` does."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    module = next((text for path, kind in reversed(modules) if (text := module_text(path, _class_name(kind)))), "")
    lines = _FRAME.findall(node.meta.get("stack_trace") or "")
    users = [(file, line) for file, line in lines if not file.startswith(_NOT_USERS_FILES)]
    return module + (f", {Path(users[-1][0]).name}:{users[-1][1]}" if module and users else "")


def _class_name(kind: Any) -> str:
    return (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]


def is_users(module: str) -> bool:
    """Return whether the Python module `module` is neither torch's nor eetool's."""
    return not module.startswith(_NOT_USERS) and module not in ("torch", "eetool")


def error_frames(error: BaseException | None) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of an error from the outermost inwards; those of an error come before those of its cause."""
    if error is not None:
        yield from traceback.walk_tb(error.__traceback__)
        yield from error_frames(error.__cause__ or error.__context__)


def _running_frames() -> Iterator[tuple[FrameType, int]]:
    """Return the frames of this call from the outermost inwards."""
    frames: list[tuple[FrameType, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return reversed(frames)
