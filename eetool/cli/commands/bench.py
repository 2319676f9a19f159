"""`eetool bench`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.bench_output import accuracy_bench_text, bench_text, stream_bench_text
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
from eetool.cli.server_options import server_options, server_request

if TYPE_CHECKING:
    import numpy as np

    from eetool.bench.benchmark import BenchRules
    from eetool.data.source import Source
    from eetool_runtime import Bundle


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
    stream: bool
    max_reaction_s: float | None
    offload_url: str | None
    offload_timeout_ms: float | None
    offload_fallback: str | None
    offload_token_file: Path | None
    offload_ca: Path | None
    offload_certificate: Path | None
    offload_key: Path | None
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
@click.option(
    "--stream/--no-stream", default=False, help="Compare the ways to answer whole sequences of --data in order."
)
@click.option(
    "--max-reaction-s",
    type=FiniteRange(0, min_open=True),
    default=None,
    help="With --stream: 95 % of the changes of the class must be followed within it.  [that in the bundle]",
)
@server_options("--offload", "Also time BUNDLE with the server that it asks.")
@output_option("Where to write the JSON document.")
@force_option
def bench(request: BenchRequest) -> CommandResult:
    """Compare all ways to ship BUNDLE: every variant, with and without early exits, and static networks.

    Each variant's unsplit network, each of its operating points and every --against network classify the whole test
    split at batch 1 in one process. They are timed in turns. The table marks the front of accuracy and latency. The
    last line is the verdict: early exit pays, does not pay, or it cannot be told, and why. Times that scatter too much
    end with exit code 7; the document is written all the same, and its verdict is that it cannot be told.

    With --offload URL the operating points that ask a server are timed too, beside the same points without it. The
    latencies that `tune --link` predicted are printed beside the measured ones.

    A variant for microcontrollers has no latency here: its accuracy, exits and exit shares alone are shown.

    With --stream the frames of every sequence come in order. Rows are the bundle's operating points for streams, those
    without memory, full depth with and without the filter, and a moving average and difference detection, whose
    parameters are chosen within the same limits on the groups that `tune` used. The verdict includes the reaction time.
    """
    from eetool.api.judged_examples import judged_examples
    from eetool.bench.benchmark import SCHEMA, BenchRules, accuracy_limit, bench_bundle, stability_problem
    from eetool.bench.interleaved_timing import TimingRules
    from eetool.data.image_form import model_form
    from eetool.data.registry import image_reader, load_source
    from eetool.errors import UsageError
    from eetool.records import check_output
    from eetool_runtime.bundle import open_bundle

    data = data_choice(request.data, request.shape, request.fit)
    if request.output is not None:
        check_output(request.output, request.force)
    bundle = open_bundle(request.bundle)
    offload = server_request(request).offload("--offload")
    rules = BenchRules(
        accuracy_limit(bundle, request.max_accuracy_drop),
        request.operating_point,
        request.variant,
        request.threads,
        TimingRules(request.passes, request.min_seconds, request.seed),
        request.accept_unstable,
        reference=request.reference,
        offload=offload,
    )
    if request.max_reaction_s is not None and not request.stream:
        raise UsageError("--max-reaction-s is a limit of streams", "Give --stream as well.")
    if request.stream and offload is not None:
        raise UsageError("--offload answers single inputs, and --stream sequences", "Give one of them.")
    if request.stream and request.against:
        raise UsageError("--against compares answers to single inputs, and --stream sequences", "Give one of them.")
    untimed = _untimed(request, rules.check(bundle))
    progress = TerminalProgress()
    source = load_source(data, progress, model_form(bundle.manifest.inputs, str(request.bundle)))
    indices, split = judged_examples(bundle, source, request.new_data, progress)
    if untimed is not None:
        return _bench_accuracy(request, bundle, untimed, source, (indices, split), progress)
    if request.stream:
        return _bench_streams(request, bundle, source, (indices, split), rules, progress)
    reread = image_reader(data, progress)
    document = bench_bundle(bundle, source, indices, split, request.against, rules, progress, reread)
    result = CommandResult(SCHEMA, vars(document), bench_text(document), stability_problem(document, rules))
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


def _untimed(request: BenchRequest, variants: list[str]) -> str | None:
    """Return the variant that is judged without its latency, if that is what was asked for."""
    from eetool.bench.accuracy_benchmark import untimed_variant
    from eetool.errors import UsageError

    variant = untimed_variant(variants)
    if variant is not None:
        for name, given in (
            ("--against", request.against),
            ("--reference", request.reference),
            ("--stream", request.stream),
        ):
            if given:
                raise UsageError(f"{variant} has no latency here, and {name} compares latencies", f"Leave out {name}.")
    return variant


def _bench_accuracy(
    request: BenchRequest,
    bundle: "Bundle",
    variant: str,
    source: "Source",
    judged: "tuple[np.ndarray, str]",
    progress: TerminalProgress,
) -> CommandResult:
    from eetool.bench.accuracy_benchmark import SCHEMA, bench_accuracy

    document = bench_accuracy(bundle, variant, source, *judged, progress)
    result = CommandResult(SCHEMA, vars(document), accuracy_bench_text(document))
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


def _bench_streams(
    request: BenchRequest,
    bundle: "Bundle",
    source: "Source",
    judged: "tuple[np.ndarray, str]",
    rules: "BenchRules",
    progress: TerminalProgress,
) -> CommandResult:
    from eetool.bench.stream_benchmark import SCHEMA, bench_streams, stream_problem

    document = bench_streams(bundle, source, *judged, rules, request.max_reaction_s, progress)
    result = CommandResult(SCHEMA, vars(document), stream_bench_text(document), stream_problem(document, rules))
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


command = bench
