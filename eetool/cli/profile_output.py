"""Text output of `eetool profile`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds
from eetool.cli.output import table
from eetool.wording import counted, scope_words

if TYPE_CHECKING:
    from eetool.profile.profiler import Profile
    from eetool_measure.timing import Latency


def profile_text(p: "Profile") -> list[Any]:
    """Return lines and tables that show a measurement."""
    times = p.chosen
    return [
        f"{p.bundle.name} {p.variant}, measured on {p.machine.cpu or p.machine.architecture}, batch 1, "
        f"{times.components[0].latency_ms.runs} runs, ms",
        _threads_table(p),
        f"chosen: {p.threads} of {p.machine.cores} threads, by {p.threads_chosen_by}",
        "",
        f"Components alone, {counted(p.threads, 'thread')}",
        _components_table(p),
        "The cascade, beside the sum of the components that ran",
        _cascade_table(p),
        *_overhead_lines(p),
        *_view_lines(p),
        *_energy_lines(p),
        *_sustained_lines(p),
        *(f"unstable: {reason}" for reason in p.unstable),
    ]


def _view_lines(p: "Profile") -> list[Any]:
    """Return what making inputs from a picture takes; an app does it in its own code, or calls `preprocess`."""
    views = p.chosen.views
    if not views:
        return []
    height, width = views[0].picture
    rows = [(view.input, *_summary(view.latency_ms)) for view in views]
    columns = {"input": "left", **dict.fromkeys(("median", "p90", "p99", "MAD"), "right")}
    return [f"Making inputs from an array of {height}x{width} pixels; in no figure above", table(columns, rows)]


def _sustained_lines(p: "Profile") -> list[str]:
    s = p.sustained
    if s is None:
        return []
    first, last = s.windows[0], s.windows[-1]
    hot = f", {last.condition.temperature_c:.0f} °C" if last.condition.temperature_c is not None else ""
    slowed = ", slowed down by the board" if any(w.condition.throttled for w in s.windows) else ""
    at_first, at_last = milliseconds(first.latency_ms.median), milliseconds(last.latency_ms.median)
    return [
        f"Called for {s.seconds:g} s at {s.operating_point}: median {at_first} ms at first, "
        f"{at_last} ms at last ({s.slowdown:+.1%}){hot}{slowed}"
    ]


def _energy_lines(p: "Profile") -> list[Any]:
    energy = p.energy
    if energy is None:
        return ["energy: not known; --power METER measures it, --watts W estimates it"]
    figures = [(name, figure) for name, figure in energy.components.items()]
    figures += [(f"leaving at {k}", figure) for k, figure in enumerate(energy.cascade)]
    figures += [("heads skipped", energy.full), *energy.references.items()]
    rows = [
        (name, milliseconds(f.value), "–" if f.ci95 is None else f"{f.ci95[0]:.4g} to {f.ci95[1]:.4g}")
        for name, f in figures
    ]
    idle = f", idle {energy.idle_w:.3g} W subtracted" if energy.idle_w is not None else ""
    return [
        f"Energy per inference, mJ, {scope_words(energy.scope)}, {energy.provenance} by {energy.meter}{idle}",
        table({"what ran": "left", "mJ": "right", "95 %": "right"}, rows),
    ]


def _threads_table(p: "Profile") -> Any:
    exits = [f"exit {at.exit}" for at in p.chosen.cascade]
    rows = [
        (
            f"{times.threads} *" if times.threads == p.threads else f"{times.threads}  ",
            *(milliseconds(at.latency_ms.median) for at in times.cascade),
            milliseconds(times.full.median),
            milliseconds(times.references.unsplit.median if times.references.unsplit else None),
        )
        for times in p.thread_counts
    ]
    return table(dict.fromkeys(("threads", *exits, "heads skipped", "unsplit"), "right"), rows)


def _components_table(p: "Profile") -> Any:
    rows = [(c.name, f"{c.macs / 1e6:.2f}", *_summary(c.latency_ms)) for c in p.chosen.components]
    columns = {"component": "left", **dict.fromkeys(("MACs (M)", "median", "p90", "p99", "MAD"), "right")}
    return table(columns, rows)


def _summary(latency: "Latency") -> tuple[str, ...]:
    return tuple(milliseconds(value) for value in (latency.median, latency.p90, latency.p99, latency.mad))


def _cascade_table(p: "Profile") -> Any:
    rows = [
        (
            str(at.exit),
            *_summary(at.latency_ms),
            milliseconds(at.components_sum_ms),
            f"{at.ratio.median:.2f}",
            f"{at.ratio.ci95[0]:.2f}–{at.ratio.ci95[1]:.2f}",
        )
        for at in p.chosen.cascade
    ]
    headings = ("leaving at", "median", "p90", "p99", "MAD", "components", "ratio", "95 %")
    return table(dict.fromkeys(headings, "right"), rows)


def _overhead_lines(p: "Profile") -> list[str]:
    overhead = p.chosen.overhead
    named = (
        ("full depth, heads skipped / unsplit", overhead.full_to_unsplit),
        ("full depth, all heads / unsplit", overhead.cascade_to_unsplit),
        ("the split: components / all exits in one graph", overhead.components_to_all_exits),
        ("the runtime: cascade / components", overhead.cascade_to_components),
    )
    return [
        f"{what}: " + (f"{r.median:.2f} ({r.ci95[0]:.2f}–{r.ci95[1]:.2f})" if r else "not in the bundle")
        for what, r in named
    ]
