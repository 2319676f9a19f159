"""`eetool.bench`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

from eetool.api.arguments import Data, PathLike, as_path, as_progress, as_source, as_strings, check_number
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.bench.accuracy_benchmark import AccuracyBench
    from eetool.bench.benchmark import Bench
    from eetool_runtime import Bundle, Model
    from eetool_runtime.offload import Offload


def bench(
    bundle: Union[PathLike, "Bundle", "Model"],
    data: Data,
    *,
    against: Sequence[PathLike] = (),
    reference: PathLike | None = None,
    variants: str | Sequence[str] = (),
    threads: int | None = None,
    operating_point: str | None = None,
    max_accuracy_drop: float | None = None,
    passes: int = 7,
    min_seconds: float = 6.0,
    seed: int = 0,
    accept_unstable: bool = False,
    new_data: bool = False,
    offload: "Offload | None" = None,
    progress: Progress | None = None,
) -> "Bench | AccuracyBench":
    """Compare all ways to ship a bundle here: every variant, with and without early exits, and static networks.

    >>> eetool.bench("model.eebundle", "digits").verdict.text

    Each variant's unsplit network, its operating points and every other network classify the test split at batch 1.
    They are timed in turns in this process. Stop other programs first.

    Args:
        bundle: a bundle, or one that `load` has opened.
        data: the data that the model was trained on, as a name or as `load_data` returns it.
        against: static networks to compare with: ONNX files and bundles.
        reference: the static network that ratios, differences and the verdict are against, such as the largest one of a
            cascade; by default the bundle's own.
        variants: variants to run, such as `onnx/int8`; by default all.
        threads: by default the number that the bundle recorded for this machine, or 1.
        operating_point: operating point of the verdict, by default that of the bundle.
        max_accuracy_drop: percentage points that it may lose.
        passes: passes over the test split, at least.
        min_seconds: duration of the measurement, at least.
        seed: of the order and of resampling.
        new_data: judge all examples of `data`, none of which the model may have been made with.
        accept_unstable: keep times that scatter, and record that they do.
        offload: `eetool_runtime.offload.Offload`, the server that the bundle asks: also time it with that.
        progress: observer of the work.

    Returns:
        Accuracy and latency of every way (`ways`), with the front, and the `verdict`. For a variant of
        microcontrollers, which has no latency here, accuracies and exit shares alone.

    Raises:
        eetool.errors.UsageError: an argument is invalid.
        eetool.errors.ArtefactError: the bundle has no reference graphs, or was made for other data.
        eetool.errors.UnstableError: the times scatter too much.
    """
    with python_errors():
        check_number("max_accuracy_drop", max_accuracy_drop, 0, 100)
        check_number("passes", passes, 1)
        check_number("min_seconds", min_seconds, 0, 86400)
        from eetool.api.judged_examples import judged_examples
        from eetool.bench.accuracy_benchmark import bench_accuracy, untimed_variant
        from eetool.bench.benchmark import BenchRules, accuracy_limit, bench_bundle, stability_problem
        from eetool.bench.interleaved_timing import TimingRules
        from eetool.data.image_form import DataChoice, model_form
        from eetool.data.registry import image_reader
        from eetool_runtime import Bundle, Model, open_bundle

        opened = bundle.bundle if isinstance(bundle, Model) else bundle
        if not isinstance(opened, Bundle):
            opened = open_bundle(as_path(opened, "a bundle"))
        rules = BenchRules(
            accuracy_limit(opened, max_accuracy_drop),
            operating_point,
            as_strings("variants", variants),
            threads,
            TimingRules(passes, min_seconds, seed),
            accept_unstable,
            reference=None if reference is None else as_path(reference, "an ONNX file or a bundle"),
            offload=_checked(offload),
        )
        untimed = untimed_variant(rules.check(opened))
        if untimed is not None and (against or reference is not None):
            raise UsageError(f"{untimed} has no latency here", "Leave out against and reference.")
        rivals = tuple(as_path(path, "an ONNX file or a bundle") for path in against)
        watched = as_progress(progress)
        source = as_source(data, watched, model_form(opened.manifest.inputs, str(opened.path)))
        indices, split = judged_examples(opened, source, new_data, watched)
        if untimed is not None:
            return bench_accuracy(opened, untimed, source, indices, split, watched)
        reread = image_reader(data, watched) if isinstance(data, (str, DataChoice)) else None
        measured = bench_bundle(opened, source, indices, split, rivals, rules, watched, reread)
        if problem := stability_problem(measured, rules):
            raise problem
        return measured


def _checked(offload: object) -> "Offload | None":
    """Return the settings of a server; raises UsageError where they are something else, such as a URL."""
    from eetool_runtime.offload import Offload

    if offload is None or isinstance(offload, Offload):
        return offload
    raise UsageError(f"{type(offload).__name__} is no server", "Give eetool_runtime.offload.Offload(URL).")
