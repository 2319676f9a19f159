"""`eetool.load_data`, `eetool.save` and `eetool.load_checkpoint`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eetool.api.arguments import (
    Data,
    PathLike,
    References,
    as_labelled_data,
    as_path,
    as_progress,
    as_source,
    check_choice,
)
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from torch import nn

    from eetool.data.source import Source
    from eetool.model.checkpoint import Checkpoint
    from eetool.train.labelled_data import LabelledData, Normalisation


def load_data(
    data: "str | Source | tuple[Any, Any]",
    *,
    test: tuple[Any, Any] | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    size: int | tuple[int, int] | None = None,
    fit: str | None = None,
    normalise: "Normalisation | str | None" = None,
    hold_out: str = "train",
    progress: Progress | None = None,
) -> "LabelledData":
    """Read labelled examples and split them, as every command does.

    >>> data = eetool.load_data("digits")
    >>> loader = DataLoader(data.split("train"), batch_size=64, shuffle=True)

    The splits are the same for every model: `train` for training, `temperature` and `threshold` for `tune`, `test` for
    `bench`. Images are pairs of a normalised float32 tensor (C, H, W) and a label.

    Args:
        data: a name such as `digits`, `cifar10`, `folder:DIR`, `npz:FILE` or `tsv:FILE`; or arrays `(inputs, labels)`:
            images uint8 (N, C, H, W), or features of floats; integers (N,).
        test: of arrays: inputs and labels of an official test set.
        classes: of arrays: names of the classes, by default their numbers.
        name: of arrays: name of the data, which models record; `arrays` by default.
        size: of a folder: height and width that all images become, or one number for both, as `folder:DIR@96` says it.
        fit: how they become that size: `crop` the centre (by default), `pad` with grey or `stretch`.
        normalise: mean and deviation of each channel, of pixels in [0, 1]: `((0.5,), (0.25,))`, or `imagenet`, `half`
            or `none`, as `eetool train --normalize` takes them; by default those of the training split. A loop with a
            loader of its own gives the rule of that loader.
        hold_out: `train`, or `test` for weights that were trained on all training images: the held-out examples are
            then taken from the official test set.
        progress: receives notes on odd files.

    Raises:
        eetool.errors.UsageError: there is no such data, or an argument does not fit it.
        eetool.errors.ArtefactError: a file is damaged, or there are too few examples of a class.
    """
    with python_errors():
        from eetool.train.labelled_data import prepare_data

        if isinstance(data, tuple) and len(data) == 2:
            from eetool.data.array_source import source_from_arrays

            if size is not None or fit is not None:
                raise UsageError("size and fit are for photographs in a folder", "Resize the arrays beforehand.")
            source = source_from_arrays(data, test, classes, name or "arrays")
        else:
            if test is not None or classes is not None or name is not None:
                raise UsageError("test, classes and name belong to arrays", "Leave them out, or give (inputs, labels).")
            source = as_source(_in_form(data, size, fit), as_progress(progress))
        return prepare_data(source, normalise, hold_out)


def _in_form(data: Data, size: int | tuple[int, int] | None, fit: str | None) -> Data:
    """Return data with a size and a fit of its images."""
    if size is None and fit is None:
        return data
    from eetool.data.image_form import DataChoice
    from eetool.data.source_names import OF_IMAGE_FILES
    from eetool_runtime.manifest import FITS

    check_choice("fit", fit, FITS)

    sides = (size, size) if isinstance(size, int) else size
    whole = sides is None or (len(sides) == 2 and all(isinstance(side, int) for side in sides))
    if not isinstance(data, str) or data.partition(":")[0] not in OF_IMAGE_FILES or not whole:
        reason = f"size {size!r} and fit {fit!r} fit no photographs of {data!r}"
        raise UsageError(reason, "As load_data('folder:DIR', size=96, fit='pad').")
    return DataChoice(data if sides is None else f"{data}@{sides[0]}x{sides[1]}", fit=fit)


def save(
    net: "nn.Module",
    path: PathLike,
    *,
    data: Data | None = None,
    labels: Sequence[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> "Checkpoint":
    """Write a network that was trained in a loop of your own to a model.pt, which every command and function takes.

    Args:
        net: the module that `attach_exits` returned, or torch.compile's or DistributedDataParallel's wrapper of it.
        path: the file.
        data: the data that it was trained on, as a name or as `load_data` returns it. `tune` and `bench` need it. The
            loop must have used the split `train` alone, with the same normalisation.
        labels: names of the classes, where there is no `data`.
        force: replace an existing file.
        progress: observer of the reading of data.

    Returns:
        The checkpoint, which `tune`, `export` and `estimate` take too.

    Raises:
        eetool.errors.UsageError: it is another network, or the data does not fit it.
        eetool.errors.OutputError: the file exists and `force` was not given, or it cannot be written.
        eetool.errors.ArtefactError: a weight is not finite.

    Warns:
        UserWarning: on the data, the final exit is no better than chance.
    """
    with python_errors():
        from eetool.model.checkpoint import save_checkpoint
        from eetool.records import check_output
        from eetool.train.attached_checkpoint import checkpoint_of

        file = as_path(path, "a model.pt")
        check_output(file, force)
        labelled = None if data is None else as_labelled_data(data, as_progress(progress))
        checkpoint = checkpoint_of(net, labelled, labels, stacklevel=2)
        save_checkpoint(file, checkpoint, force)
        return checkpoint


def load_checkpoint(path: PathLike, reference: References = None) -> "Checkpoint":
    """Read a model.pt. Nothing in it is run.

    >>> net = eetool.load_checkpoint("model.pt").build()

    Args:
        path: the file.
        reference: your own code that builds its network, as a function or class, or as its name: the permission to
            call it. Models of eetool and of libraries need none.

    Raises:
        eetool.errors.ArtefactError: the file is missing, damaged or no model.pt.
        eetool.errors.UsageError: it needs code that `reference` does not name.
    """
    with python_errors():
        from eetool.model.checkpoint import load_checkpoint as read
        from eetool.train.module_reference import named_references

        return read(as_path(path, "a model.pt"), named_references(reference))
