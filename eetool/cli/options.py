"""Options and parameter types shared by several verbs."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from eetool.cli.shell_completion import ArtefactPath

F = TypeVar("F", bound=Callable[..., Any])

# Paths are checked by the code that opens them: its messages have more detail, and it exits with 3.
PATH = click.Path(path_type=Path)
BUNDLE = ArtefactPath()
MODEL = ArtefactPath(".pt", ".onnx")


class ShapeType(click.ParamType[Any]):
    """Shape such as `1x3x32x32`, converted to a tuple of ints."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        sizes = str(value).split("x")
        if not all(size.isdecimal() and int(size) > 0 for size in sizes):
            self.fail(f"{value!r} is not a shape such as 1x3x32x32", param, ctx)
        return tuple(int(size) for size in sizes)


SHAPE = ShapeType()


class ExitsType(click.ParamType[Any]):
    """Number of exits, or `own` for those that a network has."""

    name = "exits"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "own":
            return "own"
        if not str(value).isdecimal():
            self.fail(f"{value!r} is neither a number of exits nor own", param, ctx)
        return int(value)


EXITS = ExitsType()


class DurationType(click.ParamType[Any]):
    """Duration such as `90s`, `30m` or `1h`, converted to seconds; a bare number is in seconds."""

    name = "time"
    _UNITS = MappingProxyType({"s": 1.0, "m": 60.0, "h": 3600.0})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value))
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is no time such as 90s, 30m or 1h", param, ctx)
        return float(match[1]) * self._UNITS[match[2] or "s"]


DURATION = DurationType()


class FiniteRange(click.FloatRange):
    """Range of finite numbers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def output_option(help_text: str, default: str | None = None) -> Callable[[F], F]:
    """Return the option `-o/--output PATH`."""
    return click.option("-o", "--output", type=PATH, default=default, show_default=default is not None, help=help_text)


def force_option(function: F) -> F:
    """Add the option `--force/--no-force`."""
    return click.option("--force/--no-force", default=False, help="Replace an existing output.")(function)


def named_option(function: F) -> F:
    """Add the option `--model REFERENCE`, by which the user allows code that a file names to run."""
    text = "Your own code that builds the network of a model.pt or a front: package.module:factory; it is run."
    return click.option("--model", "named", multiple=True, metavar="REFERENCE", help=text)(function)


def data_option(required: bool = True) -> Callable[[F], F]:
    """Return the option `--data SOURCE`."""
    known = (
        "digits; cifar10, cifar100, svhn (downloaded, or with :DIR); folder:DIR (@96: resized to 96×96), npz:FILE, "
        "tsv:FILE or tsv:DIR; or your own code, package.module:function, which is run."
    )
    return click.option("--data", required=required, metavar="SOURCE", help=known)


def ssh_options(function: F) -> F:
    """Add the options of a connection to a device over ssh."""
    function = click.option("--ssh-option", multiple=True, metavar="KEY=VALUE", help="Passed to `ssh -o`; repeatable.")(
        function
    )
    return click.option(
        "--device-python", default="python3", show_default=True, help="With ssh://: the interpreter there."
    )(function)


def accept_unstable_option(function: F) -> F:
    """Add the option `--accept-unstable/--no-accept-unstable`."""
    return click.option(
        "--accept-unstable/--no-accept-unstable",
        default=False,
        envvar="EETOOL_ACCEPT_UNSTABLE",
        show_envvar=True,
        help="Keep times that scatter, and record that they do.",
    )(function)
