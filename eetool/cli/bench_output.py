"""Text output of `eetool bench`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.output import table

if TYPE_CHECKING:
    from eetool.bench.benchmark import Bench

_LEGEND = "agree: with unsplit, in %; ratio: mean ms / that of unsplit; saved: MACs, in %"


def bench_text(b: "Bench") -> list[Any]:
    """Return lines and a table that show a benchmark; the last line is the verdict."""
    return [_header(b), bench_table(b), _LEGEND, *_exits(b), "", b.verdict.text]


def _header(b: "Bench") -> str:
    threads = f"{b.threads} thread" + "s" * (b.threads > 1)
    return f"{b.bundle} {b.variant}, {b.data.n} examples of {b.data.source}, batch 1, {threads}, {b.passes} passes"


def bench_table(b: "Bench") -> Any:
    """Return the rich table of all networks and operating points."""
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
    """Return the accuracy of every exit alone."""
    if len(b.exits) < 2:
        return []
    return [f"exit 0, 1, … alone: acc % {' / '.join(percent(e.accuracy, 2) for e in b.exits)}"]
