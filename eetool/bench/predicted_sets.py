"""All sets of ways of a benchmark, and their predictions; a way that cannot run is listed with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from eetool.bench.example_forms import ExampleForms, bench_inputs
from eetool.bench.predictions import ExitPredictions, WayPredictions
from eetool.bench.way_sets import NO_REFERENCE_HINT, VariantWays, WayNotRun, WaySet, rival_sets
from eetool.bench.ways import AGAINST, EARLY_EXIT, UNSPLIT, WayLabel, unique_names
from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.progress import SILENT, Progress
from eetool.targets import is_untimed
from eetool_runtime.backends import Threads, backend_for
from eetool_runtime.bundle import Bundle
from eetool_runtime.errors import BackendError
from eetool_runtime.near_names import known_names

AUTO = "auto"
FULL = "full"


@dataclass
class PredictedSets:
    """Sets that ran, with their predictions.

    Attributes:
        sets: those that ran.
        labels: of the ways that ran, by name.
        ways: their predictions, by name.
        exits: predictions of every exit of the bundle, by variant.
        not_run: ways that could not run.
        threads: that the bundle's graphs were granted.
        against: names of the ways of the network that all are compared with, where it is not that of the bundle.
    """

    sets: list[WaySet] = field(default_factory=list)
    labels: dict[str, WayLabel] = field(default_factory=dict)
    ways: dict[str, WayPredictions] = field(default_factory=dict)
    exits: dict[str, ExitPredictions] = field(default_factory=dict)
    not_run: list[WayNotRun] = field(default_factory=list)
    threads: Threads = Threads()  # noqa: RUF009 - frozen, so safe to share
    against: tuple[str, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants of the bundle that ran."""
        return tuple(self.exits)

    @property
    def reference(self) -> str:
        """Name of the network without early exits in fp32, or where it has none, in its first variant.

        It is that of the bundle, or the one of `against`.
        """
        labels = self.labels.values()
        candidates = [label for label in labels if (label.name in self.against if self.against else _is_unsplit(label))]
        return min(candidates, key=lambda label: not str(label.variant).endswith("/fp32")).name

    def judged(self, operating_point: str | None) -> list[str]:
        """Return the names of the early-exit ways that a verdict considers.

        `full`, which never exits early, is one of them only where it is asked for or a bundle has no other point.
        """
        early = [label for label in self.labels.values() if label.kind == EARLY_EXIT]
        points = {operating_point} if operating_point else {label.operating_point for label in early} - {FULL}
        return [label.name for label in early if label.operating_point in (points or {FULL})]


def chosen_variants(bundle: Bundle, names: Sequence[str]) -> list[str]:
    """Return the named variants, each once; for `auto` the first that can run.

    Without names these are all of the bundle but those without a latency here, or these where there are no others.

    Raises:
        UsageError: the bundle has no such variant.
    """
    chosen: list[str] = []
    everything = tuple(bundle.manifest.variants)
    timed = tuple(variant for variant in everything if not is_untimed(variant))
    for name in names or timed or everything:
        variant = _first_runnable(bundle) if name == AUTO else name
        bundle.variant(variant)
        if variant not in chosen:
            chosen.append(variant)
    return chosen


def check_point(bundle: Bundle, variants: Sequence[str], point: str | None) -> None:
    """Raise UsageError where none of the variants has the operating point."""
    known = dict.fromkeys(name for variant in variants for name in bundle.variant(variant).operating_points)
    if point is not None and point not in known:
        raise UsageError(f"unknown operating point {point!r}", known_names(point, list(known), "This bundle has"))


def make_sets(
    bundle: Bundle,
    variants: Sequence[str],
    forms: ExampleForms,
    against: Sequence[Path],
    threads: int,
    reference: Path | None = None,
) -> list[WaySet]:
    """Return the variants of the bundle and the networks of `against`, whose ways have unique names.

    Args:
        bundle: opened bundle.
        variants: those to run.
        forms: examples of the source.
        against: ONNX files and bundles.
        threads: number of threads.
        reference: path among `against` that all are compared with; None for the unsplit network of the bundle.

    Raises:
        ArtefactError: the bundle has no unsplit network and there is no other reference, it takes other inputs, or a
            network of `against` does not fit.
    """
    if reference is None and not any(UNSPLIT in bundle.variant(variant).references for variant in variants):
        raise ArtefactError(f"{bundle.path}: has no reference/{UNSPLIT} to compare with", NO_REFERENCE_HINT)
    inputs = bench_inputs(bundle, forms.examples, forms.files)
    several = len(variants) > 1
    owners: dict[str | None, str] = {}
    for variant in variants:
        owners.setdefault(bundle.variant(variant).references.get(UNSPLIT), variant)
    sets: list[WaySet] = []
    for variant in variants:
        graph = bundle.variant(variant).references.get(UNSPLIT)
        same_as = owners[graph] if graph is not None and owners[graph] != variant else None
        sets.append(VariantWays(bundle, variant, inputs, threads, f"{variant} " if several else "", same_as))
    for path in against:
        sets += rival_sets(path, bundle, variants, forms, inputs, threads)
    names = iter(unique_names(label.name for one in sets for label in one.labels))
    for one in sets:
        one.labels = [replace(label, name=next(names)) for label in one.labels]
    return sets


def predict_sets(
    sets: Sequence[WaySet], keep: bool, required: bool, progress: Progress = SILENT, reference: Path | None = None
) -> PredictedSets:
    """Return the predictions of every way that can run.

    Args:
        sets: to run.
        keep: keep graphs in memory.
        required: an error of a variant of the bundle ends the benchmark.
        progress: shows the steps.
        reference: path of the network that all are compared with; None for that of the bundle.

    Raises:
        EarlyExitError: of a set whose failure ends the benchmark, such as an ONNX file of `--against`, or of the first
            set where no variant of the bundle runs.
    """
    predicted, errors = PredictedSets(), []
    with progress("predictions before timing", len(sets)) as advance:
        for one in sets:
            one.keep = keep
            predicted.not_run += one.skipped
            try:
                _add(predicted, one)
            except EarlyExitError as error:
                if one.required or one.path == reference or (required and isinstance(one, VariantWays)):
                    raise
                errors.append(error)
                reason = error.message + (f" ({error.hint})" if error.hint else "")
                predicted.not_run += [WayNotRun(label.name, reason) for label in one.labels]
            advance(1)
    if (reference is None and not any(map(_is_unsplit, predicted.labels.values()))) or not predicted.judged(None):
        raise errors[0] if errors else ArtefactError(predicted.not_run[0].reason)
    if reference is not None:
        own = [label for one in predicted.sets if one.path == reference for label in one.labels]
        predicted.against = tuple(label.name for label in own if label.kind == AGAINST)
    return predicted


def _is_unsplit(label: WayLabel) -> bool:
    return label.kind == UNSPLIT


def _add(predicted: PredictedSets, one: WaySet) -> None:
    result = one.predict()
    predicted.sets.append(one)
    predicted.not_run += result.failed
    predicted.labels.update((label.name, label) for label in one.labels if label.name in result.ways)
    predicted.ways.update(result.ways)
    if result.exits is not None:
        if not predicted.exits:
            predicted.threads = result.threads
        predicted.exits[str(one.labels[-1].variant)] = result.exits


def _first_runnable(bundle: Bundle) -> str:
    """Return the first variant whose engine is installed, else the first."""
    for variant in bundle.manifest.variants:
        try:
            backend_for(variant.split("/")[0])
        except BackendError:
            continue
        return variant
    return next(iter(bundle.manifest.variants))
