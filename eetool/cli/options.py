"""Options and parameter types shared by several verbs."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eetool.cli.artefact_arguments import ArtefactType, DeviceType, ModelOrArtefactType, ModelType, SourceType

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice

F = TypeVar("F", bound=Callable[..., Any])

# Of other paths the code that opens them has more detailed messages; it exits with 3.
PATH = click.Path(path_type=Path)
BUNDLE = ArtefactType(("bundle",))
CHECKPOINT = ArtefactType(("checkpoint",), ".pt")
CHECKPOINT_OR_BUNDLE = ArtefactType(("checkpoint", "bundle"), ".pt")
MODEL = ArtefactType(("bundle", "checkpoint", "onnx"), ".pt", ".onnx")
RIVAL = ArtefactType(("onnx", "bundle"), ".onnx")
STATIC_NETWORK = ArtefactType(("onnx",), ".onnx")
SHARED_WEIGHTS = ArtefactType(("weights",), ".pt")
WEIGHTS = ArtefactType(
    ("weights", "checkpoint", "resume"), ".pt", ".safetensors", takes="a file of weights or a model.pt"
)
PROFILE = ArtefactType(("profile/",), ".json")
LINK = ArtefactType(("link/",), ".json")
FRONT = ArtefactType(("search/",), ".json")
REFERENCE = ModelType()
REFERENCE_OR_CHECKPOINT = ModelOrArtefactType(("checkpoint",), ".pt")
REFERENCE_OR_ARTEFACT = ModelOrArtefactType(("bundle", "checkpoint"), ".pt")
DEVICE = DeviceType()


class ShapeType(click.ParamType[Any]):
    """Shape such as `1x3x32x32`, converted to a tuple of ints. An image may leave out the batch: `3x32x32`."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        from eetool.errors import UsageError

        if isinstance(value, tuple):
            return value
        sizes = re.split("[x×X]", str(value))
        if all(size.isdecimal() and int(size) > 0 for size in sizes):
            shape = tuple(int(size) for size in sizes)
            if len(shape) == 3 and shape[0] in _CHANNELS:
                return (1, *shape)
            if len(shape) > 3 or (len(shape) > 1 and shape[0] == 1):
                return shape
        option = param.opts[0] if param else "--input"
        raise UsageError(f"{option} {value!r} is not a shape such as 1x3x32x32", _shape_hint(option, str(value)))


_CHANNELS = (3, 4)  # of images, where a shape begins with them instead of the batch; 1xHxW are frames too


def _shape_hint(option: str, text: str) -> str:
    """Return the shape that was probably meant: the channels are first, and a side alone is that of a square."""
    sizes = [size for size in re.findall("[0-9]{1,5}", text) if int(size)]
    if len(sizes) == 1:
        sizes *= 2
    elif len(sizes) in (3, 4) and int(sizes[-1]) in (1, *_CHANNELS) < (int(sizes[-3]),):
        sizes = [sizes[-1], *sizes[-3:-1]]
    meant = {2: ["1", "3", *sizes], 3: ["1", *sizes], 4: sizes}.get(len(sizes), ["1", "3", "32", "32"])
    return f"The batch and the channels come first, and x joins the sizes: {option} {'x'.join(meant)}."


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
    text = "Factory of your own network, as in the model.pt or front: package.module:factory. Its code is run."
    return click.option("--model", "named", multiple=True, metavar="REFERENCE", help=text)(function)


def data_options(required: bool = True) -> Callable[[F], F]:
    """Return the option `--data SOURCE` and the image options `--input` and `--fit`, for `data_choice`."""
    known = (
        "digits; cifar10, cifar100, svhn (downloaded, or with :DIR); folder:DIR (@96: resized to 96×96), npz:FILE, "
        "tsv:FILE or tsv:DIR, frames:DIR, signal:FILE; or your own code, package.module:function, which is run."
    )
    shape = (
        "Input shape (1x128: 128 tokens). Of images in a folder also 3x96x96: all of them become this size.  [that of "
        "MODEL or the data]"
    )
    fit = (
        "How images of a folder become that size, here and on the device: crop the centre, pad with grey, or change "
        "the proportions.  [crop, or that of MODEL]"
    )
    options = (
        click.option("--data", type=SourceType(), required=required, metavar="SOURCE", callback=_named, help=known),
        _window_option("--window", "S", "Cut recordings of signal:FILE into windows of so many seconds …"),
        _window_option("--step", "S", "… one every so many seconds."),
        _window_option("--rate", "HZ", "Samples per second of signal:FILE, where the file does not hold them."),
        click.option("--input", "shape", type=SHAPE, default=None, metavar="1x3x32x32", help=shape),
        click.option("--fit", type=click.Choice(["crop", "pad", "stretch"]), default=None, help=fit),
    )

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class PictureSizeType(click.ParamType[Any]):
    """Height and width of a picture such as `480x640`, converted to a pair."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value[0], value[1]
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(value))
        if match is None:
            self.fail(f"{value!r} is no height and width in pixels such as 480x640", param, ctx)
        return int(match[1]), int(match[2])


PICTURE_SIZE = PictureSizeType()


class SizesType(click.ParamType[Any]):
    """Sizes of square photographs such as `128,160`, converted to a tuple."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        from eetool.data.image_form import LARGEST_SIDE

        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(re.fullmatch(r"[1-9]\d{0,3}", word) and int(word) <= LARGEST_SIDE for word in words):
            self.fail(f"{value!r} are no sizes in pixels, up to {LARGEST_SIDE}, such as 128,160", param, ctx)
        return tuple(int(word) for word in words)


def sizes_option(help_text: str) -> Callable[[F], F]:
    """Return the option `--sizes N,N`."""
    return click.option("--sizes", type=SizesType(), default=(), metavar="N,N", help=help_text)


def _window_option(name: str, unit: str, text: str) -> Callable[[F], F]:
    """Return an option of the windows of a signal, which becomes a part of the name of the source."""

    def keep(context: click.Context, parameter: click.Parameter, value: float | None) -> None:
        context.meta[f"{__name__}{name}"] = value

    positive = FiniteRange(0, min_open=True)
    return click.option(name, type=positive, metavar=unit, expose_value=False, is_eager=True, callback=keep, help=text)


def _named(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the name of a source, with the windows of the other options in it."""
    from eetool.data.signal_windows import with_windows

    window, step, rate = (context.meta.get(f"{__name__}{name}") for name in ("--window", "--step", "--rate"))
    return with_windows(value, window, step, rate)


def new_data_option(function: F) -> F:
    """Add the option `--new-data/--no-new-data`, for commands that judge a bundle on --data."""
    text = "--data are examples that the model was not made with, and all of them are judged.  [its test split]"
    return click.option("--new-data/--no-new-data", default=False, help=text)(function)


def data_choice(data: str | None, shape: tuple[int, ...] | None, fit: str | None) -> "DataChoice":
    """Return the data with its image options.

    Raises:
        UsageError: there is no --data, or the options contradict each other; no image is read for that.
    """
    from eetool.data.image_form import DataChoice
    from eetool.errors import UsageError

    if data is None:
        raise UsageError("--fit is for images of --data, and there are none", "Give --data.")
    choice = DataChoice(data, shape, fit)
    choice.asked()
    return choice


def ssh_options(function: F) -> F:
    """Add the options of a connection to a device over ssh."""
    function = click.option("--ssh-option", multiple=True, metavar="KEY=VALUE", help="Passed to `ssh -o`; repeatable.")(
        function
    )
    return click.option(
        "--device-python", default="python3", show_default=True, help="With ssh://: the interpreter there."
    )(function)


def check_table_option(function: F) -> F:
    """Add the option `--check-table/--no-check-table`."""
    return click.option(
        "--check-table/--no-check-table",
        default=True,
        show_default=True,
        envvar="EETOOL_CHECK_TABLE",
        show_envvar=True,
        help="Of this machine: measure the table's reference probes first, and correct it.",
    )(function)


def accept_unstable_option(function: F) -> F:
    """Add the option `--accept-unstable/--no-accept-unstable`."""
    return click.option(
        "--accept-unstable/--no-accept-unstable",
        default=False,
        envvar="EETOOL_ACCEPT_UNSTABLE",
        show_envvar=True,
        help="End without an error where times scatter; the document says that they do.",
    )(function)
