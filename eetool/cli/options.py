"""Options and parameter types that several verbs share."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from eetool.cli.shell_completion import ArtefactPath

F = TypeVar("F", bound=Callable[..., Any])

# Paths are checked by the code that opens them, which says more than "does not exist" and exits with 3.
PATH = click.Path(path_type=Path)
BUNDLE = ArtefactPath()
MODEL = ArtefactPath(".pt", ".onnx")


class ShapeType(click.ParamType[Any]):
    """`1x3x32x32` to a tuple of ints."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        sizes = str(value).split("x")
        if not all(size.isdecimal() and int(size) > 0 for size in sizes):
            self.fail(f"{value!r} is not a shape such as 1x3x32x32", param, ctx)
        return tuple(int(size) for size in sizes)


SHAPE = ShapeType()


class DurationType(click.ParamType[Any]):
    """`90s`, `30m` or `1h` to seconds; a bare number is seconds."""

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
    """A range of numbers that NaN does not slip through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def output_option(help_text: str, default: str | None = None) -> Callable[[F], F]:
    """`-o/--output PATH`."""
    return click.option("-o", "--output", type=PATH, default=default, show_default=default is not None, help=help_text)


def force_option(function: F) -> F:
    """`--force/--no-force`."""
    return click.option("--force/--no-force", default=False, help="Replace an existing output.")(function)


def named_option(function: F) -> F:
    """`--model REFERENCE`: the user vouches for code that a file names."""
    text = "Your own code that a model.pt or a front is made of: package.module:factory; it is run."
    return click.option("--model", "named", multiple=True, metavar="REFERENCE", help=text)(function)


def data_option(required: bool = True) -> Callable[[F], F]:
    """`--data SOURCE`."""
    known = "digits; cifar10, cifar100, svhn (downloaded, or with :DIR); folder:DIR, npz:FILE, tsv:FILE or tsv:DIR."
    return click.option("--data", required=required, metavar="SOURCE", help=known)
