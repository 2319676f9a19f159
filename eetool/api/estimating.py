"""`eetool.estimate`."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Union

from eetool.api.arguments import (
    Data,
    PathLike,
    References,
    as_path,
    as_progress,
    check_number,
    checkpoint_file,
    own_references,
)
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.bench.device_comparison import Estimate
    from eetool.model.checkpoint import Checkpoint
    from eetool_runtime import Bundle

_AUTO = "auto"
_HOST, _SSH = "host", "ssh://"


def estimate(
    model: Union[PathLike, "Checkpoint", "Bundle"],
    device: str,
    *,
    variant: str = _AUTO,
    threads: int = 1,
    watts: float | None = None,
    against: Sequence[PathLike] = (),
    data: Data | None = None,
    new_data: bool = False,
    operating_point: str | None = None,
    max_accuracy_drop: float | None = None,
    reference: References = None,
    progress: Progress | None = None,
) -> "Estimate":
    """Estimate latency and energy on a device from the device's latency table; nothing is measured.

    >>> eetool.estimate("model.eebundle", "rpi4").means

    Args:
        model: a bundle, a model.pt, a checkpoint or an ONNX file.
        device: a name from `eetool devices`, or the file of a hw profile.
        variant: of a bundle, such as `onnx/int8`; by default the first that the table covers.
        threads: threads on the device.
        watts: power of the board, from which energy is estimated.
        against: static networks to compare with: ONNX files, bundles or files model.pt.
        data: measure accuracies on its test split, with a bundle; by default those that tuning recorded.
        new_data: on all examples of `data`, none of which the model may have been made with.
        operating_point: judged by the verdict; by default the default of the bundle.
        max_accuracy_drop: percentage points that it may lose.
        reference: your code that builds the network of a model.pt.
        progress: observer of the work.

    Returns:
        The comparison with the verdict for the device (`comparison`), and latency in ms with intervals: of every
        component (`graphs`), of leaving at every exit (`exits`) and in the mean at every operating point (`means`).

    Raises:
        eetool.errors.UsageError: an argument is invalid.
        eetool.errors.MissingError: there is no such device, or its table has no figures of such a variant.
        eetool.errors.ArtefactError: the model cannot be read.
    """
    with python_errors():
        check_number("threads", threads, 1)
        check_number("watts", watts, 0, exclusive=True)
        if device == _HOST or str(device).startswith(_SSH):
            raise UsageError(
                f"estimates are made from a table, and {device} is measured",
                "`eetool table build -o my.json` makes a table; or measure a bundle with `eetool profile`.",
            )
        check_number("max_accuracy_drop", max_accuracy_drop, 0, 100)
        from eetool.api.device_estimate import EstimateRequest, make_estimate
        from eetool.train.module_reference import named_references

        opened, named = _opened(model)
        with opened as path:
            request = EstimateRequest(
                input=path,
                device=device,
                variant=variant,
                threads=threads,
                watts=None if watts is None else float(watts),
                named=named or named_references(reference),
                against=tuple(as_path(other, "an ONNX file, a bundle or a model.pt") for other in against),
                data=data,
                new_data=new_data,
                operating_point=operating_point,
                max_accuracy_drop=max_accuracy_drop,
            )
            return make_estimate(request, as_progress(progress))


def _opened(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a context with the path of a model, and the code that it may be built with."""
    from eetool_runtime import Bundle

    if isinstance(model, Bundle):
        return nullcontext(model.path), ()
    if hasattr(model, "record"):
        return checkpoint_file(model), own_references(model)
    return nullcontext(as_path(model, "a bundle, a model.pt or an ONNX file")), ()
