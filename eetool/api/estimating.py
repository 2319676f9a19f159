"""`eetool.estimate`."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Union

from eetool.api.arguments import (
    PathLike,
    References,
    as_path,
    check_number,
    checkpoint_file,
    own_references,
)
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from eetool.latency.estimate.predictor import Prediction
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
    reference: References = None,
) -> "Prediction":
    """Estimate latency and energy on a device from the device's latency table; nothing is measured.

    >>> eetool.estimate("model.eebundle", "rpi4").means

    Args:
        model: a bundle, a model.pt, a checkpoint or an ONNX file.
        device: a name from `eetool devices`, or the file of a hw profile.
        variant: of a bundle, such as `onnx/int8`; by default the first that the table covers.
        threads: threads on the device.
        watts: power of the board, from which energy is estimated.
        reference: your code that builds the network of a model.pt.

    Returns:
        Latency in ms with intervals, of every component (`graphs`), of leaving at every exit (`exits`) and in the mean
        at every operating point (`means`).

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
        from eetool.train.module_reference import named_references

        opened, named = _opened(model)
        with opened as path:
            return estimate_file(
                path,
                device,
                variant,
                threads,
                None if watts is None else float(watts),
                named or named_references(reference),
            )


def estimate_file(
    path: "Path", device: str, variant: str, threads: int, watts: float | None, named: tuple[str, ...]
) -> "Prediction":
    """Return the estimated latency and energy of a file, see `estimate`; `named` may be called to build its network."""
    from eetool.export.temporary_bundle import temporary_bundle
    from eetool.latency.estimate.prediction_target import open_target, predictable_variants, target_of_variant
    from eetool.latency.estimate.predictor import Predictor, predict
    from eetool.latency.table.hw_profile import load_device
    from eetool.latency.table.table import BACKENDS

    profile = load_device(device)
    with open_target(path, temporary_bundle, named) as target:
        variants = predictable_variants(target)
        covered = {e.backend for e in profile.table} | {r.backend for r in profile.regressions}
        fitting = [v for v in variants if BACKENDS[v.split("/")[0]] in covered]
        chosen = variant if variant != _AUTO else (fitting or list(variants))[0]
        backend, precision = BACKENDS.get(chosen.split("/")[0], chosen), chosen.split("/")[-1]
        predictor = Predictor(profile, backend, precision, threads, watts)
        return predict(target_of_variant(target, chosen, predictor.channel_block), predictor)


def _opened(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a context with the path of a model, and the code that it may be built with."""
    from eetool_runtime import Bundle

    if isinstance(model, Bundle):
        return nullcontext(model.path), ()
    if hasattr(model, "record"):
        return checkpoint_file(model), own_references(model)
    return nullcontext(as_path(model, "a bundle, a model.pt or an ONNX file")), ()
