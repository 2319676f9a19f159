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
    data_option,
    force_option,
    output_option,
)
from eetool.cli.output import CommandResult, verb_with_request, write_result
from eetool.cli.progress_bars import TerminalProgress


@dataclass(frozen=True)
class BenchRequest:
    """Options of `eetool bench`."""

    bundle: Path
    data: str
    variant: str
    against: tuple[Path, ...]
    threads: int | None
    operating_point: str | None
    max_accuracy_drop: float | None
    passes: int
    min_seconds: float
    seed: int
    accept_unstable: bool
    output: Path | None
    force: bool


@verb_with_request(BenchRequest)
@click.argument("bundle", type=BUNDLE)
@data_option()
@click.option("--variant", default="auto", show_default=True)
@click.option(
    "--against", type=RIVAL, multiple=True, help="A static network to compare with: .onnx or bundle; repeatable."
)
@click.option("--threads", type=click.IntRange(1), default=None, help="[that in the bundle for this machine, or 1]")
@click.option("--operating-point", default=None, help="Operating point of the verdict.  [the bundle's default]")
@click.option("--max-accuracy-drop", type=FiniteRange(0, 100), default=None, help="Percentage points that it may lose.")
@click.option("--passes", type=click.IntRange(1), default=7, show_default=True, help="Over the test split, at least.")
@click.option("--min-seconds", type=FiniteRange(0, 86400), default=3, show_default=True, help="Of measuring, at least.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order and of resampling.")
@accept_unstable_option
@output_option("Where to write the JSON document.")
@force_option
def bench(request: BenchRequest) -> CommandResult:
    """Compare the latency of BUNDLE with its unsplit model and with static networks.

    Every operating point, the unsplit backbone and every --against network classify the whole test split at batch 1,
    interleaved in one process. The last line is the verdict: early exit pays, does not
    pay, or it cannot be told, and why.
    """
    from eetool.bench.benchmark import SCHEMA, bench_bundle, complete_rules
    from eetool.data.registry import load_source
    from eetool.data.splits import TEST, recorded_split
    from eetool.records import check_output
    from eetool_runtime import load

    if request.output is not None:
        check_output(request.output, request.force)
    model = load(request.bundle, threads=request.threads, pool="process", variant=request.variant)
    rules = complete_rules(
        model,
        request.operating_point,
        request.max_accuracy_drop,
        request.passes,
        request.min_seconds,
        request.seed,
        request.accept_unstable,
    )
    source = load_source(request.data, TerminalProgress())
    indices = recorded_split(source, TEST, model.bundle.manifest.data)
    document = bench_bundle(model, source, indices, TEST, request.against, rules, TerminalProgress())
    result = CommandResult(SCHEMA, vars(document), bench_text(document))
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


command = bench
