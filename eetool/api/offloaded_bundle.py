"""Export of a model for a device and a server, with the data that scales and thresholds are fitted on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.errors import EarlyExitError, MissingError, OutputError
from eetool.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from eetool.api.exported_bundle import ExportOrder
    from eetool.data.source import Source
    from eetool.export.offload.cut import Cut
    from eetool.export.offload.export import OffloadExport
    from eetool_runtime import Bundle

_CALIBRATION_EXAMPLES = 256


@dataclass(frozen=True)
class OffloadRequest:
    """Order to export a part of a model for a server.

    Attributes:
        cut: `input`, or the number of the last exit on the device.
        wire: `fp32`, `fp16` or `uint8`.
        repository: folder of models.
        output: bundle that asks the server; None for the bundle itself.
        data: the data that the model records; None to read them where they are on this machine.
        force: replace an existing output, or an earlier server of the bundle.
    """

    cut: str
    wire: str
    repository: Path
    output: Path | None = None
    data: "str | Source | None" = None
    force: bool = False


def check_offload_output(model: Path, request: OffloadRequest) -> None:
    """Check before torch is imported that the result can be written.

    Raises:
        OutputError: it could not, or the bundle has a server already and `force` was not given.
        UsageError: the cut is neither the number of an exit nor `input`, or the bundle has no such exit.
    """
    from eetool.export.offload.cut import find_cut, parse_cut
    from eetool.records import check_output
    from eetool_runtime import open_bundle

    after = parse_cut(request.cut)
    if model.is_dir():
        manifest = open_bundle(model).manifest
        find_cut(manifest, after)
        if _in_place(model, request) and manifest.offload is not None and not request.force:
            raise OutputError(
                f"{model} has a server already", "Give --force to replace its part, or -o for another place."
            )
    target = _target(model, request)
    check_output(target, request.force or _in_place(model, request), directory=True)


def offload_bundle(path: Path, request: OffloadRequest, progress: Progress) -> "OffloadExport":
    """Export what lies behind a cut of the bundle at `path`; raises as `eetool.export.offload.export.add_offload`."""
    from eetool.export.offload.cut import parse_cut
    from eetool.export.offload.export import OffloadOrder, add_offload
    from eetool_runtime import open_bundle

    bundle = open_bundle(path)
    source = recorded_source(bundle, request.data, progress)
    order = OffloadOrder(
        parse_cut(request.cut),
        request.wire,
        request.repository,
        None if source is None else _calibration(bundle, source),
        source,
    )
    force = request.force or _in_place(path, request)
    return add_offload(bundle, _target(path, request), order, progress, force)


def offload_checkpoint(order: "ExportOrder", request: OffloadRequest, progress: Progress) -> "OffloadExport":
    """Export a checkpoint to the bundle `order.output` and a server's model."""
    from eetool.records import check_output

    check_output(order.output, order.force, directory=True)
    with _exported(order, progress) as path:
        return offload_bundle(path, replace(request, output=order.output), progress)


def bundle_cuts(path: Path) -> "list[Cut]":
    """Return every cut of the bundle at `path`."""
    from eetool.export.offload.cut import candidate_cuts
    from eetool_runtime import open_bundle

    return candidate_cuts(open_bundle(path).manifest)


def checkpoint_cuts(order: "ExportOrder", progress: Progress) -> "list[Cut]":
    """Return every cut of the bundle that a checkpoint would become."""
    with _exported(order, progress) as path:
        return bundle_cuts(path)


@contextmanager
def _exported(order: "ExportOrder", progress: Progress) -> Iterator[Path]:
    """Yield a temporary bundle of a checkpoint, which has the name of the output."""
    from eetool.api.exported_bundle import export_model
    from eetool.workspace import scratch

    with scratch() as folder:
        path = folder / order.output.name
        export_model(replace(order, output=path, force=False), progress)
        yield path


def recorded_source(bundle: "Bundle", given: "str | Source | None", progress: Progress) -> "Source | None":
    """Return the data that a bundle records, read as its inputs are; None where they are not on this machine.

    Raises:
        ArtefactError: the data that were given are not those of the bundle.
    """
    from eetool.data.contents import as_recorded
    from eetool.data.image_form import model_form
    from eetool.data.registry import is_local, load_source
    from eetool.data.source import Source, check_classes
    from eetool.data.vocabulary import use_model_vocabulary
    from eetool.export.bundle_files import read_contents

    manifest = bundle.manifest
    name = manifest.data.source if manifest.data is not None else ""
    try:
        if given is None and not is_local(name):
            raise MissingError(f"{name} would have to be downloaded")
        form = model_form(manifest.inputs, str(bundle.path))
        read = given if isinstance(given, Source) else load_source(given or name, progress, form)
        source = as_recorded(read, manifest.data, read_contents(bundle), progress)
        check_classes(source, manifest.labels, str(bundle.path))
        return use_model_vocabulary(source, manifest.inputs)
    except EarlyExitError:
        if given is not None:
            raise
        progress.note("warning: scales are fitted on the few samples of the bundle; give --calibration-data")
        return None


def _calibration(bundle: "Bundle", source: "Source") -> "dict[str, np.ndarray]":
    """Return some training examples as inputs of the model, on which scales are fitted."""
    from eetool.data.splits import TRAIN, recorded_split
    from eetool.data.views import take_examples
    from eetool.export.calibration import calibration_inputs, evenly_spaced

    chosen = evenly_spaced(recorded_split(source, TRAIN, bundle.manifest.data), _CALIBRATION_EXAMPLES)
    return calibration_inputs(take_examples(source, chosen), bundle.manifest.inputs)


def _target(model: Path, request: OffloadRequest) -> Path:
    return request.output or (model if model.is_dir() else model.with_suffix(".eebundle"))


def _in_place(model: Path, request: OffloadRequest) -> bool:
    return model.is_dir() and _target(model, request) == model
