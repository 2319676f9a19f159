"""`eetool bench`: early exit against static models, by the clock."""

from pathlib import Path

import click

from eetool.cli.console import Answer, TerminalProgress, table, verb, write_answer
from eetool.cli.options import PATH, data_option, force_option, output_option


@click.argument("bundle", type=PATH)
@data_option()
@click.option("--variant", default="auto", show_default=True, help="Such as onnx/fp32.")
@click.option("--against", type=PATH, multiple=True, help="Static net to hold against it: .onnx or bundle. Repeatable.")
@click.option("--threads", type=click.IntRange(min=1), help="By default what the bundle recorded for this machine.")
@click.option("--operating-point", help="The one to judge; by default the bundle's default.")
@click.option("--max-accuracy-drop", type=click.FloatRange(min=0), help="Percentage points it may lose to unsplit.")
@click.option("--passes", type=click.IntRange(min=1), default=7, show_default=True, help="Over the test split, at least.")
@click.option("--min-seconds", type=click.FloatRange(min=0), default=3.0, show_default=True, help="To race, at least.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of turns and resampling.")
@output_option("Where to write the JSON document.")
@force_option
@verb
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
) -> Answer:
    """Compare BUNDLE with the model it came from, and with static nets, by the clock.

    Every operating point, the unsplit backbone and every --against net answer the whole test split at batch 1, in
    turns, in one process. The last line says whether early exit pays, and why.
    """
    ...
