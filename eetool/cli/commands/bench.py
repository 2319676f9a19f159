"""`eetool bench`."""

from dataclasses import dataclass
from pathlib import Path

import click

from eetool.cli.bench_output import bench_text
from eetool.cli.options import (
    BUNDLE,
    RIVAL,
    FiniteRange,
    accept_unstable_option,
    data_choice,
    data_options,
    force_option,
    new_data_option,
    output_option,
)
from eetool.cli.output import CommandResult, verb_with_request, write_result
from eetool.cli.progress_bars import TerminalProgress


@dataclass(frozen=True)
class BenchRequest:
    """Options of `eetool bench`."""

    bundle: Path
    data: str
    shape: tuple[int, ...] | None
    fit: str | None
    variant: tuple[str, ...]
    against: tuple[Path, ...]
    reference: Path | None
    threads: int | None
    operating_point: str | None
    max_accuracy_drop: float | None
    passes: int
    min_seconds: float
    seed: int
    accept_unstable: bool
    output: Path | None
    new_data: bool
    force: bool


@verb_with_request(BenchRequest)
@click.argument("bundle", type=BUNDLE)
@data_options()
@new_data_option
@click.option("--variant", multiple=True, help="Run this variant only, such as onnx/int8; repeatable.  [all]")
@click.option(
    "--against", type=RIVAL, multiple=True, help="A static network to compare with: .onnx or bundle; repeatable."
)
@click.option(
    "--reference",
    type=RIVAL,
    default=None,
    help="The static network that all ways are compared with, such as the largest one of a cascade.  [that of BUNDLE]",
)
@click.option("--threads", type=click.IntRange(1), default=None, help="[that in the bundle for this machine, or 1]")
@click.option("--operating-point", default=None, help="The only operating point of the verdict.  [all but full]")
@click.option("--max-accuracy-drop", type=FiniteRange(0, 100), default=None, help="Percentage points that it may lose.")
@click.option("--passes", type=click.IntRange(1), default=7, show_default=True, help="Over the timed examples.")
@click.option(
    "--min-seconds",
    type=FiniteRange(0, 86400),
    default=6,
    show_default=True,
    help="Of timing; decides how many examples.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of examples and order."
)
@accept_unstable_option
@output_option("Where to write the JSON document.")
@force_option
def bench(request: BenchRequest) -> CommandResult:
    """Compare all ways to ship BUNDLE: every variant, with and without early exits, and static networks.

    Each variant's unsplit network, each of its operating points and every --against network classify the whole test
    split at batch 1 in one process. They are timed in turns. The table marks the front of accuracy and latency. The
    last line is the verdict: early exit pays, does not pay, or it cannot be told, and why. Times that scatter too much
    end with exit code 7; the document is written all the same, and its verdict is that it cannot be told.
    """
    from eetool.api.judged_examples import judged_examples
    from eetool.bench.benchmark import SCHEMA, BenchRules, accuracy_limit, bench_bundle, stability_problem
    from eetool.bench.interleaved_timing import TimingRules
    from eetool.data.image_form import model_form
    from eetool.data.registry import image_reader, load_source
    from eetool.latency.estimate.recorded_model import views_warnings
    from eetool.records import check_output
    from eetool_runtime.bundle import open_bundle

    data = data_choice(request.data, request.shape, request.fit)
    if request.output is not None:
        check_output(request.output, request.force)
    bundle = open_bundle(request.bundle)
    rules = BenchRules(
        accuracy_limit(bundle, request.max_accuracy_drop),
        request.operating_point,
        request.variant,
        request.threads,
        TimingRules(request.passes, request.min_seconds, request.seed),
        request.accept_unstable,
        reference=request.reference,
    )
    rules.check(bundle)
    progress = TerminalProgress()
    source = load_source(data, progress, model_form(bundle.manifest.inputs, str(request.bundle)))
    indices, split = judged_examples(bundle, source, request.new_data, progress)
    reread = image_reader(data, progress)
    document = bench_bundle(bundle, source, indices, split, request.against, rules, progress, reread)
    *lines, verdict = bench_text(document)
    notes = [f"note: {line}" for line in views_warnings(bundle.manifest.inputs)]
    result = CommandResult(SCHEMA, vars(document), [*lines, *notes, verdict], stability_problem(document, rules))
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


command = bench
