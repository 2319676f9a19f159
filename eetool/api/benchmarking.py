"""`eetool.bench`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

from eetool.api.arguments import Data, PathLike, as_path, as_progress, as_source, check_number
from eetool.api.python_errors import python_errors
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.bench.benchmark import Bench
    from eetool_runtime import Bundle, Model


def bench(
    bundle: Union[PathLike, "Bundle", "Model"],
    data: Data,
    *,
    against: Sequence[PathLike] = (),
    variant: str = "auto",
    threads: int | None = None,
    operating_point: str | None = None,
    max_accuracy_drop: float | None = None,
    passes: int = 7,
    min_seconds: float = 3.0,
    seed: int = 0,
    accept_unstable: bool = False,
    progress: Progress | None = None,
) -> "Bench":
    """Measure a bundle here, side by side with its unsplit model and with static networks.

    >>> eetool.bench("model.eebundle", "digits").verdict.text

    Every operating point, the unsplit model and every other network classify the whole test split at batch 1,
    interleaved in this process. Stop other programs first.

    Args:
        bundle: a bundle, or one that `load` has opened.
        data: the data that the model was trained on, as a name or as `load_data` returns it.
        against: static networks to compare with: ONNX files and bundles.
        variant: variant of the bundle.
        threads: by default the number that the bundle recorded for this machine, or 1.
        operating_point: operating point of the verdict, by default that of the bundle.
        max_accuracy_drop: percentage points that it may lose.
        passes: passes over the test split, at least.
        min_seconds: duration of the measurement, at least.
        seed: of the order and of resampling.
        accept_unstable: keep times that scatter, and record that they do.
        progress: observer of the work.

    Returns:
        Accuracy and latency of every network and operating point (`points`), and the `verdict`.

    Raises:
        eetool.errors.UsageError: an argument is invalid.
        eetool.errors.ArtefactError: the bundle has no reference graphs, or was made for other data.
        eetool.errors.UnstableError: the times scatter too much.
    """
    with python_errors():
        check_number("max_accuracy_drop", max_accuracy_drop, 0, 100)
        check_number("passes", passes, 1)
        check_number("min_seconds", min_seconds, 0, 86400)
        from eetool.bench.benchmark import bench_bundle, complete_rules
        from eetool.data.splits import TEST, recorded_split
        from eetool_runtime import Bundle, Model, load

        watched = as_progress(progress)
        if isinstance(bundle, Model):
            model = bundle
        else:
            path = bundle if isinstance(bundle, Bundle) else as_path(bundle, "a bundle")
            model = load(path, threads=threads, variant=variant)
        rules = complete_rules(model, operating_point, max_accuracy_drop, passes, min_seconds, seed, accept_unstable)
        rivals = tuple(as_path(path, "an ONNX file or a bundle") for path in against)
        source = as_source(data, watched)
        indices = recorded_split(source, TEST, model.bundle.manifest.data)
        return bench_bundle(model, source, indices, TEST, rivals, rules, watched)
