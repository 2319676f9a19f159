"""Parameter types that tell mixed-up files, models and data before torch is imported or data is read."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from eetool.cli.shell_completion import ArtefactPath

_DEVICE_SCHEMES = ("host", "ssh://")
_NAMES_A_FILE = re.compile(r".*\.(pt|pth|onnx|tflite|json|safetensors|eebundle|py|h5|bin|png|jpe?g)", re.IGNORECASE)
# Kinds of files that hold the data of each kind of source; downloaded ones are left to their readers.
_HOLDS = {"folder": ("images", "folder"), "npz": ("npz", "archive"), "tsv": ("table", "text", "folder")}
_PREFIXES = {"images": "folder:", "folder": "folder:", "npz": "npz:", "table": "tsv:"}


def command_name(context: click.Context | None) -> str:
    """Return the name of a command without that of the program, such as `table build`."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(names)


class ArtefactType(ArtefactPath):
    """Path of a file or folder of one of the `wanted` kinds of `eetool.artefact_kinds`, the usual one first.

    `takes` are words for them, where their own are too many.
    """

    def __init__(self, wanted: Sequence[str], *suffixes: str, takes: str = "") -> None:
        super().__init__(*suffixes)
        self.wanted, self.takes = tuple(wanted), takes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from eetool.cli.artefact_hints import check_artefact

        path = Path(str(value))
        check_artefact(path, self.wanted, command_name(ctx), self.takes)
        return path


class ModelType(click.ParamType[str]):
    """Reference of a network: a built-in name, one of a library, or a factory of the user."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        check_reference(str(value), command_name(ctx))
        return str(value)


class ModelOrArtefactType(ArtefactType):
    """Path of an artefact, or a reference of a network."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        text = str(value)
        if not _is_file(text):
            check_reference(text, command_name(ctx))
            return Path(text)
        return super().convert(value, param, ctx)


class SourceType(click.ParamType[str]):
    """Name of a data source, such as `folder:photos`."""

    name = "source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        check_source(str(value))
        return str(value)


class DeviceType(click.ParamType[str]):
    """Name of a known device, the path of a hw profile, host or an address."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        check_device(str(value), command_name(ctx))
        return str(value)


def check_reference(text: str, verb: str) -> None:
    """Check the reference of a network as far as that is possible without torch.

    Raises:
        UsageError: there is no built-in network of that name, or a module is written as a file.
        ArtefactError: it is a file, and a command that builds a network takes none.
    """
    from eetool.artefact_kinds import CHECKPOINT, identify
    from eetool.cli.artefact_hints import wrong_artefact
    from eetool.errors import ArtefactError, UsageError
    from eetool.model.backbones import names
    from eetool_runtime.near_names import near_names

    if names.has_known_form(text):
        return
    if _is_file(text):
        artefact = identify(Path(text))
        error = wrong_artefact(artefact, (CHECKPOINT,), verb)
        reason = error.message.partition("; ")[0]
        hint = error.hint
        if artefact.kind == CHECKPOINT:
            hint = (
                f"`eetool tune {shlex.quote(text)} --data SOURCE` is its next step. To train on from its weights: "
                f"`eetool train REFERENCE --weights {shlex.quote(text)} --data SOURCE`."
            )
        raise ArtefactError(f"{reason}; {verb} takes a network by its name", hint)
    scheme, colon, name = text.partition(":")
    if not colon:
        raise names.unknown_model(text)
    if scheme.endswith(".py"):
        module = scheme.removesuffix(".py").strip("./").replace("/", ".")
        raise UsageError(
            f"{text!r}: a module is named without .py and with dots", f"Such as `eetool train {module}:{name}`."
        )
    near = [] if scheme in names.SCHEMES or _can_import(scheme) else near_names(scheme, names.SCHEMES)
    if near:
        raise UsageError(f"{text!r}: there is no module {scheme!r}", f"Did you mean {near[0]}:{name}?")
    if scheme not in names.SCHEMES:
        check_module(text)


def check_module(reference: str) -> None:
    """Raise UsageError where `package.module:name` lies in no package that is installed or in the current folder.

    The module itself is imported later, with torch.
    """
    from eetool.errors import UsageError

    first = reference.partition(":")[0].partition(".")[0]
    if not _can_import(first):
        raise UsageError(f"there is no module {first!r}", "It must be installed or lie in this folder.")


def check_source(text: str) -> None:
    """Check the name of a data source, and that its path can hold such data.

    Raises:
        UsageError: there is no such kind of data.
        ArtefactError: the path is missing or holds a model, a bundle or a document.
    """
    from eetool.artefact_kinds import MISSING, UNKNOWN, identify
    from eetool.cli.artefact_hints import describe, use_of
    from eetool.data.source_names import KINDS, KNOWN, parse_source_name
    from eetool.errors import ArtefactError, UsageError
    from eetool_runtime.near_names import near_names

    kind, _, path = text.partition(":")
    if kind not in KINDS and Path(text).exists():
        artefact = identify(Path(text))
        prefix = _PREFIXES.get(artefact.kind)
        as_source = f"Give it as `--data {prefix}{shlex.quote(text)}`. " if prefix else use_of(artefact)
        raise UsageError(f"--data {text!r} {describe(artefact)}; data have a kind before a colon", as_source or KNOWN)
    if kind not in KINDS and path and (_can_import(kind) or not near_names(kind, KINDS)):
        try:
            check_module(text)  # code of the user, which is loaded later
        except UsageError as error:
            raise UsageError(f"unknown data source {text!r}: {error.message}", f"{error.hint} {KNOWN}") from None
        return
    kind, path = parse_source_name(text)
    artefact = identify(Path(path))
    if not path or (artefact.kind == MISSING and Path(path.rpartition("@")[0] or path).exists()):
        return  # with a size, such as folder:photos@96
    if artefact.kind == MISSING:
        raise ArtefactError(f"--data {text}: {path} does not exist", _near_path(Path(path)) or KNOWN)
    if artefact.kind not in (UNKNOWN, *_HOLDS.get(kind, (artefact.kind,))):
        prefix = _PREFIXES.get(artefact.kind)
        hint = f"Give it as `--data {prefix}{shlex.quote(path)}`." if prefix else use_of(artefact)
        raise ArtefactError(f"--data {text}: {path} {describe(artefact)}", hint or KNOWN)


def check_device(text: str, verb: str) -> None:
    """Check that there is such a device, and that a file is a hw profile.

    Raises:
        MissingError: there is no such device; the hint names similar ones.
        UsageError: it is a microcontroller, and the command needs a latency.
        ArtefactError: the file is none.
    """
    from eetool.cli.artefact_hints import HW_PROFILE, check_artefact
    from eetool.errors import UsageError
    from eetool.latency.table.hw_profile import find_device, is_profile_file, profiles_folder
    from eetool.microcontroller.devices import find_microcontroller, is_microcontroller

    if is_microcontroller(text):
        find_microcontroller(text)
        if verb != "profile":
            raise UsageError(
                f"{verb} knows no latency of {text}", f"`eetool profile BUNDLE --device {text}` tells its memory."
            )
        return
    if text.startswith(_DEVICE_SCHEMES):
        return
    if is_profile_file(text) or _is_file(text):
        check_artefact(Path(text), (HW_PROFILE,), verb)
    elif not (profiles_folder() / f"{text}.json").is_file():
        find_device(text)


def _is_file(text: str) -> bool:
    """Return whether `text` is the path of a file or folder, or looks like the path of one that is missing."""
    try:
        return Path(text).exists() or (":" not in text and _NAMES_A_FILE.fullmatch(text) is not None)
    except (OSError, ValueError):
        return True


def _can_import(module: str) -> bool:
    import sys
    from importlib.util import find_spec

    first = module.partition(".")[0]
    try:
        known = first in sys.modules or find_spec(first) is not None
    except (ImportError, ValueError):
        return False
    return known or Path(f"{first}.py").exists() or Path(first).exists()


def _near_path(path: Path) -> str | None:
    from eetool_runtime.near_names import near_names

    try:
        near = near_names(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return None
    return f"Did you mean {' or '.join(str(path.parent / name) for name in near)}?" if near else None
