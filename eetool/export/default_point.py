"""Price of a bundle's default operating point against its unsplit network, on the device that it was tuned for."""

from pathlib import Path

from eetool.errors import EarlyExitError
from eetool.export.bundle_files import read_goals
from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.latency.estimate.predictor import Predictor, predict
from eetool.latency.table.hw_profile import load_device
from eetool.latency.table.table import BACKENDS
from eetool.model.goals import HW_PROFILE
from eetool_runtime import open_bundle

_UNSPLIT = "unsplit"


def price_default_point(path: Path, variant: str) -> str | None:
    """Return why the default point of `variant` does not pay by the hw profile that its thresholds were chosen with.

    None where it pays. None also where thresholds were not chosen for a device of eetool, or where the bundle holds no
    unsplit graph in ONNX. Both latencies are predicted with one thread.
    """
    bundle = open_bundle(path)
    goals, reference = read_goals(bundle), bundle.manifest.variants[variant].references.get(_UNSPLIT)
    graph_format, precision = variant.split("/")
    if goals is None or goals.costs is None or goals.costs.origin != HW_PROFILE or reference is None:
        return None
    if graph_format != "onnx":
        return None
    try:
        predictor = Predictor(load_device(goals.costs.device), BACKENDS[graph_format], precision, threads=1)
        if predictor.missing_precision is not None:
            return None
        cascade, unsplit = (
            predict(target_of_variant(model, variant, predictor.channel_block), predictor)
            for model in (bundle, bundle.file(reference))
        )
    except EarlyExitError:
        return None  # the device has no table of such a variant
    name = bundle.manifest.default_operating_point
    (mean,) = (point.latency_ms for point in cascade.means if point.operating_point == name)
    whole = sum(graph.latency_ms for graph in unsplit.graphs)
    if mean < whole:
        return None
    return (
        f"the default operating point {name!r} does not pay on {cascade.device}: predicted are "
        f"{mean:.3g} ms in the mean, {whole:.3g} ms without early exits"
    )
