"""`eetool bench`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.options import BUNDLE, MODEL, FiniteRange, data_option, force_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, table, verb, write_result

if TYPE_CHECKING:
    from eetool.bench.benchmark import Bench

_LEGEND = "agree: with unsplit, in %; ratio: mean ms / that of unsplit; saved: MACs, in %"


@verb
@click.argument("bundle", type=BUNDLE)
@data_option()
@click.option("--variant", default="auto", show_default=True)
@click.option(
    "--against", type=MODEL, multiple=True, help="A static net to hold against it: .onnx or bundle; repeatable."
)
@click.option(
    "--threads", type=click.IntRange(1), default=None, help="[what the bundle recorded for this machine, or 1]"
)
@click.option("--operating-point", default=None, help="The one to judge.  [the bundle's default]")
@click.option("--max-accuracy-drop", type=FiniteRange(0, 100), default=None, help="Percentage points it may lose.")
@click.option("--passes", type=click.IntRange(1), default=7, show_default=True, help="Over the test split, at least.")
@click.option("--min-seconds", type=FiniteRange(0, 86400), default=3, show_default=True, help="On the clock, at least.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the turns and of resampling.")
@output_option("Where to write the JSON document.")
@force_option
def bench(
    bundle: Path,
    data: str,
    variant: str,
    against: tuple[Path, ...],
    threads: int | None,
    operating_point: str | None,
    max_accuracy_drop: float | None,
    passes: int,
    min_seconds: float,
    seed: int,
    output: Path | None,
    force: bool,
) -> CommandResult:
    """Compare BUNDLE with the model it came from, and with static nets, by the clock.

    Every operating point, the unsplit backbone and every --against net answer the whole test split at batch 1, in
    turns, in one process. The last line says whether early exit pays, and why.
    """
    from eetool.bench.benchmark import SCHEMA, bench_bundle, complete_rules
    from eetool.data.registry import load_source
    from eetool.data.splits import TEST, recorded_split
    from eetool.records import check_output
    from eetool_runtime import load

    if output is not None:
        check_output(output, force)
    model = load(bundle, threads=threads, pool="process", variant=variant)
    rules = complete_rules(model, operating_point, max_accuracy_drop, passes, min_seconds, seed)
    source = load_source(data, TerminalProgress())
    indices = recorded_split(source, TEST, model.bundle.manifest.data)
    found = bench_bundle(model, source, indices, TEST, against, rules, TerminalProgress())
    answer = CommandResult(
        SCHEMA, vars(found), [_header(found), _table(found), _LEGEND, *_exits(found), "", found.verdict.text]
    )
    if output is not None:
        write_result(output, "bench", answer, force)
    return answer


def _header(b: "Bench") -> str:
    threads = f"{b.threads} thread" + "s" * (b.threads > 1)
    return f"{b.bundle} {b.variant}, {b.data.n} examples of {b.data.source}, batch 1, {threads}, {b.passes} passes"


def _table(b: "Bench") -> object:
    headings = ("net", "acc %", "agree", "mean ms", "p99 ms", "ratio", "exits %", "saved")
    columns = {heading: "left" if heading == "net" else "right" for heading in headings}
    unsplit_ms = b.points[0].latency_ms.mean
    rows = [
        (
            p.name,
            percent(p.accuracy, 2),
            percent(p.agreement),
            milliseconds(p.latency_ms.mean),
            milliseconds(p.latency_ms.p99),
            f"{p.latency_ms.mean / unsplit_ms:.2f}",
            shares(p.exit_shares),
            percent(p.compute_saved, 0),
        )
        for p in b.points
    ]
    return table(columns, rows)


def _exits(b: "Bench") -> list[str]:
    """What every exit would be worth were it the only one."""
    if len(b.exits) < 2:
        return []
    return [f"exit 0, 1, … alone: acc % {' / '.join(percent(e.accuracy, 2) for e in b.exits)}"]


command = bench
