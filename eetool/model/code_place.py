"""Places in a network in terms of the user's own code: the module, and the line of its forward."""

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import fx, nn

import eetool

Frames = Iterable[tuple[FrameType, int]]  # frames and their lines, from the outermost inwards

_WRAPPERS = ("net.", "backbone.")  # modules of eetool around the user's network
_NOT_USERS = ("torch", "eetool")
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
_TORCH_AND_EETOOL = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (torch, eetool))
_TRACED_LINE = re.compile(r'File "(.+)", line (\d+)')
_STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


def module_names(net: nn.Module) -> dict[int, str]:
    """Return the names of modules by their `id`, as the user knows them: without the wrappers of eetool."""
    wrapped = _is_package(type(net).__module__, "eetool")
    names = {}
    for name, module in net.named_modules():
        for prefix in _WRAPPERS if wrapped else ():
            name = "" if name == prefix[:-1] else name.removeprefix(prefix)
        names[id(module)] = name
    return names


def place_of(names: Mapping[int, str], frames: Frames) -> str:
    """Return ` in NAME (CLASS), file.py:12`: the innermost module that runs, and the innermost line of the user.

    Args:
        names: of the network's modules, by `id`.
        frames: those of a call or an error.
    """
    module, lines = "", {False: "", True: ""}  # of an installed package, of the user's own files
    for frame, number in frames:
        running = frame.f_locals.get("self")
        if isinstance(running, nn.Module) and id(running) in names:
            module = module_text(names[id(running)], running) or module
        if is_users(frame):
            file = frame.f_code.co_filename
            lines[not file.startswith(_INSTALLED)] = f"{Path(file).name}:{number}"
    return ", ".join(filter(None, (module, lines[True] or lines[False])))


def module_text(name: str, module: nn.Module) -> str:
    """Return ` in NAME (CLASS)`; empty for a wrapper of eetool."""
    if name:
        return f" in {name} ({type(module).__name__})"
    own = not _is_package(type(module).__module__, "eetool")
    return f" in the network's own forward ({type(module).__name__})" if own else ""


def traced_place(node: fx.Node) -> str:
    """Return the place of a node that torch.export has traced, as `place_of` does."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    module = next((text for path, kind in reversed(modules) if (text := _traced_text(path, kind))), "")
    lines = _TRACED_LINE.findall(node.meta.get("stack_trace") or "")
    users = [(file, line) for file, line in lines if not file.startswith(_TORCH_AND_EETOOL)]
    return module + (f", {Path(users[-1][0]).name}:{users[-1][1]}" if module and users else "")


def _traced_text(path: str, kind: Any) -> str:
    """Return ` in NAME (CLASS)` of a module in a traced network; empty for a wrapper of eetool."""
    name = (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
    while path.startswith("net."):
        path = path.removeprefix("net.")
    if path == "backbone":
        return f" in the network's own forward ({name})"
    return f" in {path.removeprefix('backbone.')} ({name})" if path not in ("", "net") else ""


def is_users(frame: FrameType) -> bool:
    """Return whether the code is neither Python's, nor torch's, nor eetool's."""
    module, file = str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename
    if any(_is_package(module, package) for package in _NOT_USERS) or file.startswith("<"):
        return False
    return file.startswith(_INSTALLED) or not file.startswith(_STANDARD)


def frames_of(error: BaseException | None) -> Iterator[tuple[FrameType, int]]:
    """Yield frames from the outermost inwards; those of an error come before those of its cause."""
    if error is None:
        return
    yield from traceback.walk_tb(error.__traceback__)
    yield from frames_of(error.__cause__ or error.__context__)


def running_frames() -> Frames:
    """Return the frames of this call from the outermost inwards."""
    return reversed(list(traceback.walk_stack(sys._getframe(1))))


def _is_package(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
