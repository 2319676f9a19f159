"""Arguments of the API: models, data and progress as paths, names or objects."""

import difflib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from eetool.errors import UsageError
from eetool.progress import SILENT, Progress

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice, ImageForm
    from eetool.data.source import Source
    from eetool.model.checkpoint import Checkpoint
    from eetool.train.labelled_data import LabelledData, Normalisation
    from eetool.train.module_reference import Code

PathLike = str | os.PathLike[str]
Data = Union[str, "DataChoice", "Source", "LabelledData"]
References = Union["Code", Sequence["Code"], None]


def as_path(value: Any, what: str) -> Path:
    """Return a path; raises UsageError where `value` is none, with `what` it should have been."""
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return Path(value)
    raise UsageError(f"{type(value).__name__} is not {what}", f"Give the path of {what}.")


def as_progress(progress: Progress | None) -> Progress:
    """Return the observer, or one that shows nothing."""
    return SILENT if progress is None else progress


def as_source(data: Data, progress: Progress, form: "ImageForm | None" = None) -> "Source":
    """Return the examples of `data`, read if it is a name; images of a folder are brought to `form`.

    Raises:
        UsageError: it is neither a name nor data.
    """
    from eetool.data.image_form import DataChoice
    from eetool.data.source import Source
    from eetool.train.labelled_data import LabelledData

    if isinstance(data, LabelledData):
        return data.source
    if isinstance(data, Source):
        return data
    if not isinstance(data, (str, DataChoice)):
        raise UsageError(
            f"{type(data).__name__} is no data", "Give a name such as 'digits' or 'folder:DIR', or eetool.load_data(…)."
        )
    from eetool.data.registry import load_source

    return load_source(data, progress, form)


def as_labelled_data(data: Data, progress: Progress, expected: "Normalisation | None" = None) -> "LabelledData":
    """Return `data` with its splits; pixels are normalised by statistics of the training split, or as `expected`."""
    from eetool.train.labelled_data import LabelledData, prepare_data

    return data if isinstance(data, LabelledData) else prepare_data(as_source(data, progress), expected)


def as_checkpoint(model: Any, reference: References = None) -> "Checkpoint":
    """Return a checkpoint, read if `model` is a path.

    Raises:
        UsageError: it is neither, or its code is not permitted by `reference`.
        ArtefactError: the file is no checkpoint.
    """
    from eetool.model.checkpoint import Checkpoint, load_checkpoint
    from eetool.train.module_reference import named_references

    if isinstance(model, Checkpoint):
        return model
    _refuse_network(model)
    return load_checkpoint(as_path(model, "a model.pt"), named_references(reference))


def _refuse_network(model: Any) -> None:
    """Refuse a network, which alone does not say what it was trained on."""
    if hasattr(model, "forward") and hasattr(model, "state_dict"):
        raise UsageError(
            "a network alone does not say what it was trained on",
            "Give the checkpoint that eetool.save(net, 'model.pt', data=data) returns, or its path.",
        )


@contextmanager
def checkpoint_file(checkpoint: "Checkpoint") -> Iterator[Path]:
    """Yield the path of a temporary model.pt with `checkpoint`."""
    from eetool.model.checkpoint import save_checkpoint
    from eetool.workspace import scratch

    with scratch() as folder:
        path = folder / "model.pt"
        save_checkpoint(path, checkpoint)
        yield path


def own_references(checkpoint: "Checkpoint") -> tuple[str, ...]:
    """Return the code that an opened checkpoint is built with: whoever opened it has permitted it."""
    from eetool.model.references.factory_call import is_factory, write_factory

    parts = checkpoint.record.spec.parts
    return tuple(write_factory(part.backbone, part.config) for part in parts if is_factory(part.backbone))


def check_number(name: str, value: Any, least: float, most: float = math.inf, exclusive: bool = False) -> None:
    """Check a number; None passes.

    Args:
        name: of the argument.
        value: its value.
        least: smallest value.
        most: largest value.
        exclusive: `least` itself is refused, and so is a finite `most`.

    Raises:
        UsageError: it is no number, or outside.
    """
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if number and least <= value <= most and not (exclusive and value in (least, most)):
        return
    end = "" if math.isinf(most) else f" to {most:g}"
    without = ", both excluded" if exclusive and end else ", 0 excluded" if exclusive else ""
    raise UsageError(f"{name} is {value!r}", f"Give {name}= a number from {least:g}{end or ' up'}{without}.")


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Raise UsageError where `value` is neither None nor among the `known` values of an argument."""
    if value is not None and value not in known:
        near = difflib.get_close_matches(str(value), known, 1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{name} is {value!r}", f"{meant}Known: {', '.join(known)}.")


def as_strings(name: str, value: Any) -> tuple[str, ...]:
    """Return one text or several as a tuple.

    Raises:
        UsageError: it is neither.
    """
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{name} is {value!r}", f"Give {name}= a text or a list of texts.")
    return tuple(texts)
