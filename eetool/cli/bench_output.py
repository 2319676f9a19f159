"""Text output of `eetool bench`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.output import table
from eetool.wording import counted, cut_remarks

if TYPE_CHECKING:
    from eetool.bench.accuracy_benchmark import AccuracyBench
    from eetool.bench.benchmark import Bench
    from eetool.bench.results import WayRow
    from eetool.bench.stream_benchmark import StreamBench

_MARKS = {True: "*", False: "", None: "?"}
_LEGEND = (
    "* on the front: none is as fast and as accurate; ? one is, but not surely",
    "ratio: mean ms / that of {reference}, and its 95 % interval",
    "unsplit: the network without exits, with its weights in this bundle; one from",
    "before it was trained with exits is compared by --against",
)

_STREAM_COLUMNS = (
    *("way", "acc %", "±", "mean ms", "p99 ms", "ratio", "95 %", "reaction s", "p95 s", "false/min", "exits %"),
)


def bench_text(b: "Bench") -> list[Any]:
    """Return lines and a table that show a benchmark; the last line is the verdict."""
    parts = [*_header(b), bench_table(b), *_legend(b), *_views(b), *_server(b), *_exits(b), *_cuts(b), *_not_run(b)]
    return [*parts, "", b.verdict.text]


def _views(b: "Bench") -> list[str]:
    """Return what latencies include of the resizing of photographs, where a call reads them in several sizes."""
    if b.views_timed is None:
        return []
    if b.views_timed:
        return ["latencies include the resizing to each size that a call reaches after its first"]
    return ["note: no latency includes resizing, because the photographs are not read from files"]


def _server(b: "Bench") -> list[str]:
    """Return predicted and measured latency of every way that asks a server, and how many calls it answered."""
    if b.offload is None:
        return []
    lines = [f"server at {b.offload.url_host}, at most {b.offload.timeout_ms:g} ms, then {b.offload.fallback}"]
    for way in b.offload.ways:
        predicted = "not predicted (tune --link)"
        if way.predicted_ms is not None:
            apart = 100 * (way.predicted_ms / way.measured_ms - 1)
            predicted = f"predicted {milliseconds(way.predicted_ms)} ms ({apart:+.0f} %)"
        failed = "".join(f", {kind} {count}" for kind, count in way.failures.items())
        answered = "" if way.answered is None else f", {100 * way.answered:.4g} % of them answered"
        lines.append(
            f"{way.name}: mean {milliseconds(way.measured_ms)} ms, {predicted}; "
            f"{100 * way.wanted:.0f} % wanted the server{answered}{failed}"
        )
    return lines


def _header(b: "Bench") -> list[str]:
    threads = counted(b.threads, "thread")
    name = f"{b.bundle} {b.variants[0]}" if len(b.variants) == 1 else b.bundle
    timed = "" if b.timed == b.data.n else f" over {b.timed} of them"
    memory = "" if b.in_memory_together else f"; graphs of {b.graphs_bytes / 1e6:.0f} MB, loaded in turns"
    return [
        f"{name}, {counted(b.data.n, 'example')} of {b.data.source}, batch 1, {threads}",
        f"{counted(len(b.ways), 'way')}, timed in {counted(b.passes, 'pass', 'passes')}{timed}{memory}",
        *(f"unstable: {reason}" for reason in b.unstable),
    ]


def bench_table(b: "Bench") -> Any:
    """Return the rich table of all ways."""
    headings = ("", "way", "acc %", "mean ms", "p99 ms", "ratio", "95 %", "exits %")
    columns = {heading: "left" if heading in ("", "way") else "right" for heading in headings}
    rows = [
        (
            _MARKS[way.front],
            way.name,
            percent(way.accuracy, 2),
            milliseconds(way.latency_ms.mean),
            milliseconds(way.latency_ms.p99),
            f"{way.latency_ratio:.2f}",
            _interval(way),
            shares(way.exit_shares),
        )
        for way in b.ways
    ]
    return table(columns, rows, tight=True)


def _interval(way: "WayRow") -> str:
    return "–".join(f"{bound:.2f}" for bound in way.latency_ratio_ci95) if len(set(way.latency_ratio_ci95)) > 1 else "–"


def _legend(b: "Bench") -> list[str]:
    return [line.format(reference=b.reference) for line in _LEGEND]


def _exits(b: "Bench") -> list[str]:
    """Return the accuracy of every exit alone."""
    if len(b.exits) < 2:
        return []
    variant = f" of {b.judged_variant}" if len(b.variants) > 1 else ""
    return [f"exit 0, 1, …{variant} alone: acc % {' / '.join(percent(e.accuracy, 2) for e in b.exits)}"]


def _cuts(b: "Bench") -> list[str]:
    """Return one line for each exit where nearly all inputs leave."""
    from eetool.metrics import degenerate_exit

    return cut_remarks({way.name: degenerate_exit(way.exit_shares or ()) for way in b.ways})


def _not_run(b: "Bench") -> list[str]:
    """Return one line for each reason that kept ways from running."""
    names: dict[str, list[str]] = {}
    for way in b.not_run:
        names.setdefault(way.reason, []).append(way.name)
    return [f"not run: {', '.join(ways)}: {reason}" for reason, ways in names.items()]


def accuracy_bench_text(b: "AccuracyBench") -> list[Any]:
    """Return lines and a table that show accuracies and exit shares without latencies."""
    headings = ("way", "acc %", "difference", "95 %", "M MACs", "exits %")
    columns = {heading: "left" if heading == "way" else "right" for heading in headings}
    rows = [
        (
            way.name,
            percent(way.accuracy, 2),
            f"{way.accuracy_difference:+.2f}",
            " to ".join(f"{bound:+.2f}" for bound in way.accuracy_difference_ci95),
            "–" if way.mean_macs is None else f"{way.mean_macs / 1e6:.3g}",
            shares(way.exit_shares),
        )
        for way in b.ways
    ]
    ((engine, version),) = b.engine.items()
    return [
        f"{b.bundle} {b.variant}, {counted(b.data.n, 'example')} of {b.data.source}, {engine} {version}",
        table(columns, rows, tight=True),
        f"difference: accuracy less that of {b.reference}, in percentage points, and its 95 % interval",
        f"exit 0, 1, … alone: acc % {' / '.join(percent(e.accuracy, 2) for e in b.exits)}",
        "latency: not measured; kernels of this machine say nothing of a microcontroller",
    ]


def stream_bench_text(b: "StreamBench") -> list[Any]:
    """Return lines and a table that show a benchmark of streams; the last line is the verdict."""
    head = [
        f"{b.bundle} {b.variant}, {counted(b.data.n, 'frame')} of {b.data.source}, {counted(b.sequences, 'sequence')} "
        f"of {counted(len(b.groups), 'group')}, {counted(b.threads, 'thread')}",
        f"a frame every {b.period_s:g} s, {counted(b.changes, 'change')} of the class; {counted(len(b.ways), 'way')}, "
        f"timed in {counted(b.passes, 'pass', 'passes')}",
        *(f"unstable: {reason}" for reason in b.unstable),
    ]
    columns = {heading: "left" if heading == "way" else "right" for heading in _STREAM_COLUMNS}
    rows = [
        (
            way.name,
            percent(way.accuracy, 2),
            f"{way.accuracy_difference:+.2f}",
            milliseconds(way.latency_ms.mean),
            milliseconds(way.latency_ms.p99),
            f"{way.latency_ratio:.2f}",
            "–".join(f"{bound:.2f}" for bound in dict.fromkeys(way.latency_ratio_ci95)),
            "–" if way.reaction_mean_s is None else f"{way.reaction_mean_s:.1f}",
            "–" if way.reaction_p95_s is None else f"{way.reaction_p95_s:.1f}",
            f"{way.false_switches_per_minute:.1f}",
            shares(way.exit_shares),
        )
        for way in b.ways
    ]
    legend = [
        "±: points against full depth with an answer per frame; ratio: mean ms / its mean ms, and its 95 % interval",
        "reaction: from a change of the class to the first right answer; false: changes of the answer to a wrong class",
    ]
    return [*head, table(columns, rows, tight=True), *legend, "", b.verdict.text]
