"""Size, channels and fit of images: what the user asks for, and what a model was trained with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eetool.errors import UsageError
from eetool_runtime.manifest import CROP, Input, Resize
from eetool_runtime.preprocess import are_views

LARGEST_SIDE = 4096  # pixels; a network for a small CPU takes a few hundred
_SIZE = re.compile(r"(.*)@(\d+)(?:x(\d+))?", re.DOTALL)
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

    def __str__(self) -> str:
        return f"{self.height}x{self.width} ({self.fit})"


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
