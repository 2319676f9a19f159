"""Charts of a report as Vega-Lite specifications; those with a parameter `point` follow the operating-point slider."""

from collections.abc import Iterator, Sequence

from eetool.bench.exit_metrics import ExitFigures
from eetool.bench.ways import UNSPLIT
from eetool.report.chart import Chart
from eetool.report.chart_theme import (
    BLUE,
    GREEN,
    GREY,
    HERE,
    SHAPES,
    VERMILION,
    Spec,
    chart,
    every_name,
    exit_name,
    exit_scale,
    point_parameter,
    quantity,
)
from eetool.report.inputs import ReportInputs
from eetool.report.learning_charts import learning_charts
from eetool.report.operating_points import ReportPoint
from eetool.report.search_charts import search_charts
from eetool.report.time_breakdown import EXIT, RUNTIME, SEGMENT, time_rows
from eetool.wording import scope_words

_MOST_CLASSES = 24


def model_charts(inputs: ReportInputs, points: Sequence[ReportPoint], start: str) -> list[Chart]:
    """Return every chart for which the inputs hold the figures."""
    return [
        *_fronts(points, start),
        *_exit_shares(points, start),
        *_class_shares(inputs, points, start),
        *_reliabilities(inputs),
        *_times(inputs, points, start),
        *learning_charts(inputs.training.history if inputs.training is not None else None),
        *search_charts(inputs.search),
    ]


def _fronts(points: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    if not points:
        return
    if any(p.measured for p in points):
        title = "Accuracy against mean latency"
        caption = (
            "Up and to the left is better. The circle marks the operating point of the slider. A line joins the "
            "operating points of a variant."
        )
        spec = _front(points, start, [p.mean_ms for p in points], "mean latency (ms)")
        yield Chart("front-latency", "front", title, caption, spec)
    else:
        macs = [None if p.mean_macs is None else p.mean_macs / 1e6 for p in points]
        caption = "Operating points as fitted; no latency was measured."
        spec = _front(points, start, macs, "mean MACs of everything that ran (million)")
        yield Chart("front-macs", "front", "Accuracy against compute", caption, spec)
    scopes = {p.energy_mj.scope for p in points if p.energy_mj.value is not None}
    if len(scopes) == 1:  # energies of different scopes are never compared
        provenance = ", ".join(sorted({str(p.energy_mj.provenance) for p in points if p.energy_mj.value is not None}))
        spec = _front(points, start, [p.energy_mj.value for p in points], "mean energy (mJ)")
        yield Chart(
            "front-energy", "front", "Accuracy against mean energy", f"{provenance}, {scope_words(scopes.pop())}.", spec
        )


def _front(points: Sequence[ReportPoint], start: str, costs: Sequence[float | None], unit: str) -> Spec:
    known = [(p, cost) for p, cost in zip(points, costs, strict=True) if cost is not None]
    values = [
        {"net": p.name, "cost": cost, "accuracy": 100 * p.accuracy, "early": not p.static, "variant": p.variant}
        for p, cost in known
    ]
    nets = [p.name for p, _ in known]
    colours = [BLUE if not p.static else GREY if p.kind == UNSPLIT else VERMILION for p, _ in known]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(nets))]
    x = quantity("cost", unit)
    y = quantity("accuracy", "accuracy (%)", zero=False, padding=8)
    layers: list[Spec] = [
        {
            "transform": [{"filter": "datum.early"}],
            "mark": {"type": "line", "color": BLUE, "strokeWidth": 1, "opacity": 0.6},
            "encoding": {"x": x, "y": y, "order": {"field": "cost"}, "detail": {"field": "variant"}},
        },
        {
            "transform": [{"filter": "datum.net === point"}],
            "mark": {"type": "point", "size": 500, "color": "currentColor", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "point", "size": 110, "strokeWidth": 2.5, "opacity": 1, "tooltip": True},
            "encoding": {
                "x": x,
                "y": y,
                "color": {"field": "net", "scale": {"domain": nets, "range": colours}, "legend": {}},
                "shape": {"field": "net", "scale": {"domain": nets, "range": shapes}, "legend": {}},
                "tooltip": [
                    {"field": "net"},
                    {"field": "cost", "type": "quantitative", "title": unit, "format": ".3~r"},
                    {"field": "accuracy", "type": "quantitative", "title": "accuracy (%)", "format": ".2f"},
                ],
            },
        },
    ]
    return chart(f"accuracy against {unit} of every net", 300, values, layers, params=point_parameter(start))


def _exit_shares(points: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    values = [
        {"point": p.name, "exit": exit_name(k, len(p.exit_shares)), "share": 100 * share}
        for p in points
        if p.exit_shares is not None
        for k, share in enumerate(p.exit_shares)
    ]
    if not values:
        return
    n = max(len(p.exit_shares or ()) for p in points)
    x = quantity("share", "inputs that leave here (%)", (0, 100))
    y = every_name("exit")
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "color": BLUE},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 4},
            "encoding": {
                "x": x,
                "y": y,
                "text": {"field": "share", "type": "quantitative", "format": ".1f"},
            },
            "transform": [{"filter": "datum.share < 88"}],
        },
        {
            "mark": {"type": "text", "align": "right", "dx": -4, "color": "white"},
            "encoding": {
                "x": x,
                "y": y,
                "text": {"field": "share", "type": "quantitative", "format": ".1f"},
            },
            "transform": [{"filter": "datum.share >= 88"}],
        },
    ]
    spec = chart(
        "share of the inputs that leave at each exit", 34 * n, values, layers,
        transform=[HERE], params=point_parameter(start),
    )  # fmt: skip
    yield Chart("exit-shares", "slider", "Where inputs leave", "At the operating point of the slider.", spec)


def _class_shares(inputs: ReportInputs, points: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    labels = inputs.bench.labels if inputs.bench is not None else ()
    judged = next((p for p in points if p.name == start and p.exits_by_class), None)
    if judged is None or judged.exits_by_class is None or not labels:
        return
    shown = _classes_by_early_share(judged.exits_by_class)
    n = len(judged.exits_by_class[0])
    values = [
        {"point": p.name, "class": labels[c], "exit": exit_name(k, n), "order": k, "inputs": count}
        for p in points
        if p.exits_by_class is not None
        for c in shown
        for k, count in enumerate(p.exits_by_class[c])
    ]
    layer = {
        "mark": {"type": "bar", "stroke": "currentColor", "strokeWidth": 0.5, "tooltip": True},
        "encoding": {
            "x": {
                "field": "inputs", "type": "quantitative", "aggregate": "sum", "stack": "normalize",
                "title": "inputs of the class (%)", "axis": {"labelExpr": "round(datum.value * 100)"},
            },
            "y": every_name("class"),
            "color": {"field": "exit", "scale": exit_scale(n), "sort": None, "legend": {}},
            "order": {"field": "order"},
        },
    }  # fmt: skip
    spec = chart(
        "where the inputs of each class leave", 18 * len(shown), values, [layer],
        transform=[HERE], params=point_parameter(start),
    )  # fmt: skip
    which = "" if len(shown) == len(labels) else f" The {len(shown)} of {len(labels)} classes that differ most."
    caption = f"Sorted by the share that leaves early at {start}; follows the slider.{which}"
    yield Chart("class-shares", "classes", "Where each class leaves", caption, spec)


def _classes_by_early_share(counts: Sequence[Sequence[int]]) -> list[int]:
    """Return class indices, sorted by the share of inputs that leave early; of many classes both ends."""
    order = sorted(range(len(counts)), key=lambda c: counts[c][-1] / max(sum(counts[c]), 1))
    half = _MOST_CLASSES // 2
    return order if len(order) <= _MOST_CLASSES else [*order[:half], *order[-half:]]


def _reliabilities(inputs: ReportInputs) -> Iterator[Chart]:
    exits = inputs.bench.exits if inputs.bench is not None else ()
    for e in exits:
        ranks = "AUROC –" if e.auroc is None else f"AUROC {e.auroc:.3f}"
        caption = f"accuracy {100 * e.accuracy:.2f} %, ECE {100 * e.ece:.1f} %, {ranks}"
        name = exit_name(e.exit, len(exits))
        yield Chart(f"reliability-{e.exit}", "reliability", name.capitalize(), caption, _reliability(e, name))


def _reliability(e: ExitFigures, name: str) -> Spec:
    values = [{"confidence": 100 * b.confidence, "accuracy": 100 * b.accuracy, "inputs": b.n} for b in e.reliability]
    x, y = quantity("confidence", "confidence (%)", (0, 100)), quantity("accuracy", "accuracy (%)", (0, 100))
    layers = [
        {
            "data": {"values": [{"confidence": 0, "accuracy": 0}, {"confidence": 100, "accuracy": 100}]},
            "mark": {"type": "line", "color": "currentColor", "strokeDash": [4, 4], "strokeWidth": 1, "opacity": 0.6},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "line", "color": BLUE, "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y, "order": {"field": "confidence"}},
        },
        {
            "mark": {"type": "point", "filled": True, "color": BLUE, "opacity": 1, "tooltip": True},
            "encoding": {
                "x": x,
                "y": y,
                "size": {"field": "inputs", "type": "quantitative", "legend": None, "scale": {"range": [15, 250]}},
            },
        },
    ]
    return chart(f"reliability diagram of {name}", 220, values, layers)


def _times(inputs: ReportInputs, points: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    rows = time_rows(inputs, points)
    if not rows:
        return
    values = [{"point": r.point, "part": r.part, "kind": r.kind, "call": r.call_ms, "mean": r.mean_ms} for r in rows]
    kinds = [SEGMENT, EXIT, RUNTIME]
    y = every_name("part")
    color = {"field": "kind", "scale": {"domain": kinds, "range": [BLUE, VERMILION, GREEN]}, "legend": None}
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "color": "transparent", "stroke": "currentColor", "tooltip": True},
            "encoding": {"x": quantity("call", "latency (ms)"), "y": y},
        },
        {
            "mark": {"type": "bar", "tooltip": True},
            "encoding": {"x": quantity("mean", "latency (ms)"), "y": y, "color": color},
        },
    ]  # fmt: skip
    height = 26 * len({r.part for r in rows})
    more = {"transform": [HERE], "params": point_parameter(start)}
    spec = chart("milliseconds of every component", height, values, layers, **more)
    caption = (
        "Segments are blue, exits orange, gates and dispatch green. Outline: median of one call. Filled: its "
        "contribution to the mean latency, since not every input reaches it. The filled bars add up to about the mean "
        "latency at the operating point of the slider."
    )
    yield Chart("time", "time", "Where the time goes", caption, spec)
