"""Commands that follow from the documents of a report: measure, tune again, or compare another variant."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from eetool.bench.benchmark import Bench
from eetool.bench.device_comparison import Estimate
from eetool.data.contents import NEW
from eetool.model.goals import DEFAULT_DROP
from eetool.report.inputs import ReportInputs
from eetool.tune.point_names import same_thresholds

_MOST = 4
_LONGER_SECONDS = 60
_REMEDIES = "What would decide it: "


@dataclass(frozen=True)
class NextStep:
    """A reason in words, and the command to type."""

    reason: str
    command: str


def next_steps(inputs: ReportInputs) -> list[NextStep]:
    """Return the most useful commands for the model of a report, at most four."""
    bundle = _bundle(inputs)
    if bundle is None:
        return []
    parts = (_of_benchmark, _of_device, _of_variants, _of_points)
    steps = [step for part in parts for step in part(inputs, bundle)]
    unique = {step.command: step for step in reversed(steps)}  # of two reasons for one command the first
    return [step for step in steps if unique[step.command] is step][:_MOST]


def _bundle(inputs: ReportInputs) -> str | None:
    """Return the bundle of the report as a word of a command."""
    if inputs.bundle is not None:
        return shlex.quote(inputs.bundle.path.name)
    return shlex.quote(f"{inputs.bench.bundle}.eebundle") if inputs.bench is not None else None


def _data(inputs: ReportInputs) -> str:
    """Return the data that a model is tuned on, as a word of a command."""
    recorded = inputs.bundle.manifest.data if inputs.bundle is not None else None
    if recorded is not None:
        return shlex.quote(recorded.source)
    return shlex.quote(inputs.bench.data.source) if inputs.bench is not None and not _is_new(inputs.bench) else "SOURCE"


def _is_new(bench: Bench) -> bool:
    return bench.data.split == NEW


def _benchmark(bench: Bench, bundle: str) -> str:
    """Return the command that repeats a benchmark."""
    return f"eetool bench {bundle} --data {shlex.quote(bench.data.source)}{' --new-data' if _is_new(bench) else ''}"


def _of_benchmark(inputs: ReportInputs, bundle: str) -> Iterator[NextStep]:
    bench = inputs.bench
    if bench is None:
        yield NextStep("Nothing was measured.", f"eetool bench {bundle} --data SOURCE -o bench.json")
        return
    if bench.verdict.pays is None:
        yield _deciding_step(bench, bundle)
    if bench.verdict.pays is False:
        drop = 2 * bench.max_accuracy_drop or 1.0
        again = f"eetool tune {bundle} --data {_data(inputs)} --max-accuracy-drop {drop:g} -o retuned.eebundle"
        reason = "Early exit does not pay with these thresholds. A larger accuracy drop allows faster ones."
        yield NextStep(reason, again)


def _deciding_step(bench: Bench, bundle: str) -> NextStep:
    """Return what would decide the verdict of a benchmark, in its own words, with the command for it."""
    earlier = bench.verdict.text.partition(_REMEDIES)[2].partition(". ")[0].removesuffix(".")
    remedies = "; ".join(bench.verdict.remedies) or earlier  # documents of earlier versions hold them in the text
    reason = f"The benchmark does not decide. {_REMEDIES}{remedies}." if remedies else "The benchmark does not decide."
    again, more = _benchmark(bench, bundle), ""
    if "passes" in remedies:
        more += f" --passes {3 * bench.passes}"
    if "--min-seconds" in remedies:
        more += f" --min-seconds {_LONGER_SECONDS}"
    if "examples instead of" in remedies or "more examples" in remedies:
        more_data = replace(bench.data, source="MORE_DATA", split=NEW)
        again = _benchmark(replace(bench, data=more_data), bundle)
    return NextStep(reason, f"{again}{more} -o bench.json --force")


def _of_points(inputs: ReportInputs, bundle: str) -> Iterator[NextStep]:
    if inputs.bundle is None:
        return
    manifest = inputs.bundle.manifest
    variant = inputs.bench.judged_variant if inputs.bench is not None else next(iter(manifest.variants))
    if variant not in manifest.variants:
        return
    for names in same_thresholds(manifest.variants[variant].operating_points)[:1]:
        drop = 2 * (manifest.max_accuracy_drop or DEFAULT_DROP)
        command = f"eetool tune {bundle} --data {_data(inputs)} --max-accuracy-drop {drop:g} -o retuned.eebundle"
        reason = f"{' and '.join(names)} have the same thresholds. A larger accuracy drop may give faster ones."
        yield NextStep(reason, command)


def _of_device(inputs: ReportInputs, bundle: str) -> Iterator[NextStep]:
    asked = inputs.asked_prediction
    if asked is None:
        return
    measure = f"eetool profile {bundle} --device ssh://USER@HOST -o profile.json"
    yield NextStep(f"The figures of {asked.device} are predicted. Measure them there.", measure)
    yield NextStep(
        "Thresholds can be fitted to the costs that were measured.",
        f"eetool tune {bundle} --data {_data(inputs)} --profile profile.json -o retuned.eebundle",
    )
    if _lacks_int8(asked):
        name = asked.device
        extend = f"eetool table extend {name} --device ssh://USER@HOST --precision int8 -o {name}-int8.json"
        yield NextStep(f"{name} has no int8 table. Measure one.", extend)


def _lacks_int8(estimate: Estimate) -> bool:
    missing = estimate.comparison.missing if estimate.comparison is not None else ()
    return estimate.reason is not None or any(m.variant.endswith("int8") for m in missing)


def _of_variants(inputs: ReportInputs, bundle: str) -> Iterator[NextStep]:
    if inputs.bundle is None or inputs.bench is None:
        return
    others = [name for name in inputs.bundle.manifest.variants if name not in inputs.bench.variants]
    for name in others[:1]:
        output = f"bench-{name.replace('/', '-')}.json"
        command = f"{_benchmark(inputs.bench, bundle)} --variant {name} -o {output}"
        yield NextStep(f"The bundle also holds {name}, which was not measured.", command)
