"""Size, channels and fit of images: what the user asks for, and what a model was trained with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eetool.data.source_names import FOLDER, OF_IMAGE_FILES
from eetool.errors import UsageError
from eetool_runtime.manifest import CROP, Input, Resize
from eetool_runtime.preprocess import are_views

LARGEST_SIDE = 4096  # pixels; a network for a small CPU takes a few hundred
_SIZE = re.compile(r"(.*)@(\d+)(?:x(\d+))?", re.DOTALL)
_IMAGE_AXES = 3  # channels, height, width
_SYNTAX = "folder:DIR@96 is 96 pixels high and wide, folder:DIR@96x128 is 96 high and 128 wide."


@dataclass(frozen=True)
class ImageForm:
    """The form that all images of a folder are brought to.

    Attributes:
        height: rows.
        width: columns.
        fit: `crop`, `pad` or `stretch`, see `eetool_runtime.resize`.
        channels: 1 for grey, 3 for RGB; None for grey where all images are.
        owner: the model that takes this form, for messages; None where the user asks for it.
        views: further forms that the model takes of each image.
    """

    height: int
    width: int
    fit: str = CROP
    channels: int | None = None
    owner: str | None = None
    views: tuple["ImageForm", ...] = ()

    @property
    def rule(self) -> Resize:
        """The rule that a model records."""
        return Resize(self.fit)

    def same_pixels(self, other: "ImageForm | None") -> bool:
        """Return whether both give the same pixels of every image. Where channels are not known, files decide them."""
        return other is not None and self._nameless() == other._nameless()

    def _nameless(self) -> "ImageForm":
        return replace(self, owner=None, views=tuple(view._nameless() for view in self.views))

    def __str__(self) -> str:
        return f"{self.height}x{self.width} ({self.fit})"


@dataclass(frozen=True)
class DataChoice:
    """A data source as options choose it: `--data` with the image options `--input` and `--fit`.

    Attributes:
        name: name of the source; a size may follow it, as in `folder:DIR@96`.
        shape: shape of an input, (1, …), or of an image without the batch.
        fit: `crop`, `pad` or `stretch`.
    """

    name: str
    shape: tuple[int, ...] | None = None
    fit: str | None = None

    def asked(self) -> ImageForm | None:
        """Return the form that the options ask for; None without a size, or for examples that are no photographs.

        Raises:
            UsageError: the size is impossible, options contradict each other, or `fit` has nothing to fit.
        """
        kind, _, path = self.name.partition(":")
        if kind not in OF_IMAGE_FILES:
            if self.fit is not None:
                hint = f"Give --data {FOLDER}:DIR@96."
                raise UsageError("--fit is for images of a folder, which have many sizes", hint)
            return None
        _, size = split_size(path)
        if self.shape is not None:
            return agreed_form(self.name, size, self._shape_form(self.shape))
        return None if size is None else ImageForm(*size, self.fit or CROP)

    def form(self, model: ImageForm | None = None) -> ImageForm | None:
        """Return the form that images of a folder are brought to: that of the options, which a model must share.

        Args:
            model: the form that a model takes; None where a network is made for the data.

        Raises:
            UsageError: see `asked`; or the options contradict the model, or give a fit without a size.
        """
        asked = self.asked()
        if model is None:
            if asked is None and self.fit is not None:
                raise UsageError("--fit needs the size that images become", f"Give --data {self.name}@96.")
            return asked
        channels, size = model.channels, (model.height, model.width)
        if asked is not None:
            channels, size = asked.channels or channels, (asked.height, asked.width)
        if self.shape is None:
            agreed_form(self.name, size, model)
        if self.fit not in (None, model.fit) or (channels, *size) != (model.channels, model.height, model.width):
            options = " ".join(self.options)
            raise UsageError(
                f"{options} contradicts {model.owner or 'the model'}, which takes {model.channels}x{model}",
                "Leave --input and --fit out: the images are resized as the model needs it.",
            )
        return model

    def _shape_form(self, shape: tuple[int, ...]) -> ImageForm:
        whole = (1, *shape) if len(shape) == _IMAGE_AXES else shape
        if len(whole) != _IMAGE_AXES + 1 or whole[0] != 1 or whole[1] not in (1, 3):
            asked = "x".join(map(str, shape))
            raise UsageError(f"--input {asked} is no size of images", "Such as 3x96x96 in colour, 1x96x96 in grey.")
        check_size("--input", whole[2], whole[3])
        return ImageForm(whole[2], whole[3], self.fit or CROP, whole[1])

    @property
    def options(self) -> tuple[str, ...]:
        """The image options as they are typed."""
        shape = () if self.shape is None else ("--input", "x".join(map(str, self.shape)))
        return (*shape, *(() if self.fit is None else ("--fit", self.fit)))

    def check_shape(self, inputs: tuple[int, ...]) -> None:
        """Raise UsageError where `--input` contradicts the shape (…) of one example of the data."""
        shape = self.shape
        if shape is not None and (1, *inputs) not in (shape, (1, *shape)):
            raise UsageError(f"--input contradicts {self.name}, which has {(1, *inputs)}", "Leave --input out.")


def model_form(inputs: Sequence[Input], owner: str) -> ImageForm | None:
    """Return the form of images that a model with these `inputs` was trained on, or None where it resizes none.

    Args:
        inputs: inputs of the model or bundle.
        owner: its file, for messages.
    """
    forms = [_form(item, owner) for item in inputs]
    first, *views = forms
    if first is None or not are_views(inputs):
        return first if len(inputs) == 1 else None
    return replace(first, views=tuple(form for form in views if form is not None))


def _form(item: Input, owner: str) -> ImageForm | None:
    rule = item.preprocess
    if rule is None or rule.resize is None:
        return None
    channels, height, width = (int(size) for size in item.shape[1:])
    return ImageForm(height, width, rule.resize.fit, channels, owner)


def split_size(path: str) -> tuple[str, tuple[int, int] | None]:
    """Return the folder in `DIR@96` or `DIR@96x128`, and the height and width; a folder of that name is meant itself.

    Raises:
        UsageError: the size is 0 or very large, or both DIR and a folder called DIR@96 exist.
    """
    match = _SIZE.fullmatch(path)
    if match is None:
        folder, at, size = path.rpartition("@")
        if at and size[:1].isdigit() and Path(folder).is_dir() and not Path(path).exists():
            raise UsageError(f"folder:{path}: {size!r} is no size of images", _SYNTAX)
        return path, None
    folder, (height, width) = match[1], (int(match[2]), int(match[3] or match[2]))
    if Path(path).is_dir():
        if Path(folder).is_dir():
            raise UsageError(
                f"{path} is a folder, and also {folder} in the size {match[2]}", f"For the folder write {path}/."
            )
        return path, None
    check_size(f"folder:{path}", height, width)
    return folder, (height, width)


def check_size(where: str, height: int, width: int) -> None:
    """Raise UsageError where no image can have this size."""
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise UsageError(f"{where}: sides are 1 to {LARGEST_SIDE} pixels", _SYNTAX)


def agreed_form(name: str, size: tuple[int, int] | None, form: ImageForm | None) -> ImageForm | None:
    """Return the form to read the folder of the source `name` in.

    Args:
        name: the source, as the user wrote it.
        size: height and width in `name`, or None.
        form: the form of the model or of other options, or None.

    Raises:
        UsageError: the two differ.
    """
    if size is None:
        return form
    if form is None:
        return ImageForm(*size)
    if size != (form.height, form.width):
        owner = form.owner or "--input"
        asked = "x".join(map(str, size))
        raise UsageError(
            f"{name} asks for images of {asked}, and {owner} takes {form}",
            f"Write {name.rpartition('@')[0]}: the images are resized as the model needs it." if form.owner else None,
        )
    return form
