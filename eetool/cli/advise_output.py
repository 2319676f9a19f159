"""Text of `eetool advise`, at most 80 columns wide except for commands."""

import textwrap
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.output import table
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.advise.document import Advice, AdvisedExit, PointForecast, SizesForecast

_WIDTH = 78
_LONGEST_TAP = 28
_LATENCY = "latency_ms"


def advice_text(a: "Advice") -> list[Any]:
    """Return lines and tables that show an advice."""
    on = "MACs, no device given" if a.device is None else f"predicted for {a.device} ({a.backend}, {a.precision})"
    lines: list[Any] = [
        *_wrapped(f"{a.model} on {a.data}: {on}"),
        *(line for warning in a.warnings for line in _wrapped(f"warning: {warning}")),
        "",
        "Exits tried, each alone, on the frozen backbone",
        _tap_table(a),
        "Networks without exits, and the advised exits at two operating points",
        _comparison(a),
    ]
    lines += [line for text in _reasons(a) for line in _wrapped(text, "  ")]
    lines += ["Advised exits"]
    lines += [f"  {e.tap}: {e.branch}" for e in a.exits]
    title = "Choices of exits, each at the whole accuracy drop that is allowed; ratio: to the cost of unsplit"
    lines += ["", *_wrapped(title), _front_table(a)]
    if any(e.branch != "linear" for choice in a.front for e in choice.exits):
        lines += ["  *: strong branch; without: linear branch"]
    if a.sizes is not None:
        lines += _size_lines(a, a.sizes)
    lines += [*_wrapped(a.verdict.text), ""]
    lines += ["What is uncertain"]
    lines += [line for text in a.uncertainties for line in _wrapped(text, "  ")]
    for number, step in enumerate(a.next, 1):
        title = "Next" if number == 1 else "Or"
        lines += ["", *_wrapped(f"{title} ({step.recipe}): {step.reason}"), *(f"  {c}" for c in step.commands)]
    return [
        *lines,
        "",
        f"{a.training_examples} training and {counted(a.held_out_examples, 'held-out example')}, {a.seconds:.0f} s",
    ]


def _tap_table(a: "Advice") -> Any:
    kinds = list(dict.fromkeys(b.branch for tap in a.taps for b in tap.branches))
    columns = {"tap": "left", "MACs %": "right"}
    if a.unit == _LATENCY:
        columns["latency %"] = "right"
    names = {kind: f"{'linear' if kind == 'linear' else 'strong'}, accuracy %" for kind in kinds}
    rows = []
    for tap in a.taps:
        figures = {b.branch: percent(b.accuracy) for b in tap.branches}
        cost = [percent(tap.cost_share, 0)] if a.unit == _LATENCY else []
        name = tap.tap if len(tap.tap) <= _LONGEST_TAP else "…" + tap.tap[1 - _LONGEST_TAP :]
        rows.append((name, percent(tap.macs_share, 0), *cost, *(figures.get(kind, "–") for kind in kinds)))
    return table({**columns, **dict.fromkeys(names.values(), "right")}, rows)


def _comparison(a: "Advice") -> Any:
    rows: list[tuple[str, ...]] = [("unsplit", percent(a.unsplit.accuracy), _cost(a, a.unsplit.cost), "1", "")]
    for rival in (*([] if a.int8 is None else [a.int8]), *a.rivals):
        ratio = "–" if rival.ratio is None else f"{rival.ratio:.2f}"
        rows.append((rival.name, percent(rival.accuracy), _cost(a, rival.cost), ratio, ""))
    rows += [_point_row(a, p) for p in a.points]
    return _figures(a, rows)


def _figures(a: "Advice", rows: list[tuple[str, ...]]) -> Any:
    unit = "ms" if a.unit == _LATENCY else "MACs (M)"
    columns = dict.fromkeys(("accuracy %", unit, "ratio (95 %)", "exits %"), "right")
    return table({"network": "left", **columns}, rows)


def _point_row(a: "Advice", p: "PointForecast") -> tuple[str, ...]:
    low, high = p.ratio_ci95
    ratio = f"{p.ratio:.2f} ({low:.2f}–{high:.2f})"
    return (p.name, percent(p.accuracy), _cost(a, p.cost), ratio, shares(p.exit_shares))


def _size_lines(a: "Advice", sizes: "SizesForecast") -> list[Any]:
    """Return the network at smaller sizes, and the advised cascade of them."""
    rows: list[tuple[str, ...]] = []
    for one in sizes.alone:
        if one.ratio is not None:
            low, high = one.ratio_ci95
            ratio = f"{one.ratio:.2f} ({low:.2f}–{high:.2f})"
            own = "" if one.classifier == "own" else "*"
            rows.append((f"{one.size} px alone{own}", percent(one.accuracy), _cost(a, one.cost), ratio, ""))
    advised = ", ".join(map(str, sizes.cascade))
    rows += [(f"{advised} px: {p.name}", *_point_row(a, p)[1:]) for p in sizes.points]
    lines: list[Any] = [f"The same network at smaller sizes; unsplit is at {sizes.full} px", _figures(a, rows)]
    if any(one.classifier == "fitted" for one in sizes.alone):
        lines += ["  *: with a classifier fitted at this size"]
    lines += [line for o in sizes.alone if o.reason for line in _wrapped(f"{o.size} px: {o.reason}", "  ")]
    fronts = [(", ".join(map(str, c.sizes)), percent(c.accuracy), f"{c.ratio:.2f}") for c in sizes.front]
    lines += ["Choices of sizes, each at the whole accuracy drop"]
    lines += [table({"sizes": "left", "accuracy %": "right", "ratio": "right"}, fronts)]
    return [*lines, *_wrapped(_cheapest(sizes)), ""]


def _cheapest(sizes: "SizesForecast") -> str:
    form, at = sizes.cheapest, ", ".join(map(str, sizes.cheapest.sizes))
    names = {
        "exits": "exits inside the network",
        "sizes": f"the cascade of {at} px",
        "alone": f"the network at {at} px alone",
        "unsplit": "the network as it is",
    }
    return (
        f"Cheapest within the drop: {names[form.form]}, expected at {form.ratio:.2f} of the unsplit network's cost "
        f"with {form.accuracy_difference:+.2f} points of accuracy."
    )


def _reasons(a: "Advice") -> list[str]:
    """Return why figures of static networks are missing."""
    return [f"{r.name}: {r.reason}" for r in (a.int8, *a.rivals) if r is not None and r.reason]


def _front_table(a: "Advice") -> Any:
    rows = [(_names(choice.exits), percent(choice.accuracy), f"{choice.ratio:.2f}") for choice in a.front]
    return table({"exits": "left", "accuracy %": "right", "ratio": "right"}, rows)


def _names(exits: "tuple[AdvisedExit, ...]") -> str:
    text = ", ".join(f"{e.tap}{'' if e.branch == 'linear' else '*'}" for e in exits)
    return text if len(text) <= 52 else text[:51] + "…"


def _cost(a: "Advice", value: float | None) -> str:
    if value is None:
        return "–"
    return milliseconds(value) if a.unit == _LATENCY else f"{value / 1e6:.2f}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  " * bool(indent))
