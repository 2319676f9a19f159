"""The charts of a report as Vega-Lite specifications; those that know a signal `point` follow the knob."""

from collections.abc import Iterator, Sequence

from eetool.bench.exit_metrics import ExitFigures
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
from eetool.report.operating_points import ReportPoint
from eetool.report.search_charts import search_charts
from eetool.report.time_breakdown import time_rows

_MOST_CLASSES = 24


def model_charts(material: ReportInputs, found: Sequence[ReportPoint], start: str) -> list[Chart]:
    """Every chart that the material is enough for."""
    return [
        *_fronts(found, start),
        *_exit_shares(found, start),
        *_class_shares(material, found, start),
        *_reliabilities(material),
        *_times(material, found, start),
        *search_charts(material.search),
    ]


def _fronts(found: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    if not found:
        return
    if any(s.measured for s in found):
        title = "Accuracy against mean latency"
        caption = "Up and to the left is better. Circled: where the knob stands. The line joins the operating points."
        spec = _front(found, start, [s.mean_ms for s in found], "mean latency (ms)")
        yield Chart("front-latency", "front", title, caption, spec)
    else:
        macs = [None if s.mean_macs is None else s.mean_macs / 1e6 for s in found]
        caption = "As the operating points were fitted; nothing here was measured by the clock."
        spec = _front(found, start, macs, "mean MACs of everything that ran (million)")
        yield Chart("front-macs", "front", "Accuracy against compute", caption, spec)
    scopes = {s.energy_mj.scope for s in found if s.energy_mj.value is not None}
    if len(scopes) == 1:  # figures of different scopes are never compared
        provenance = ", ".join(sorted({str(s.energy_mj.provenance) for s in found if s.energy_mj.value is not None}))
        spec = _front(found, start, [s.energy_mj.value for s in found], "mean energy (mJ)")
        yield Chart("front-energy", "front", "Accuracy against mean energy", f"{provenance}, {scopes.pop()}.", spec)


def _front(found: Sequence[ReportPoint], start: str, costs: Sequence[float | None], unit: str) -> Spec:
    known = [(s, cost) for s, cost in zip(found, costs, strict=True) if cost is not None]
    values = [{"net": s.name, "cost": cost, "accuracy": 100 * s.accuracy, "early": not s.static} for s, cost in known]
    nets = [s.name for s, _ in known]
    colours = [BLUE if not s.static else GREY if s.name == "unsplit" else VERMILION for s, _ in known]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(nets))]
    x = quantity("cost", unit)
    y = quantity("accuracy", "accuracy (%)", zero=False, padding=8)
    layers: list[Spec] = [
        {
            "transform": [{"filter": "datum.early"}],
            "mark": {"type": "line", "color": BLUE, "strokeWidth": 1, "opacity": 0.6},
            "encoding": {"x": x, "y": y, "order": {"field": "cost"}},
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


def _exit_shares(found: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    values = [
        {"point": s.name, "exit": exit_name(k, len(s.exit_shares)), "share": 100 * share}
        for s in found
        if s.exit_shares is not None
        for k, share in enumerate(s.exit_shares)
    ]
    if not values:
        return
    n = max(len(s.exit_shares or ()) for s in found)
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
    yield Chart("exit-shares", "knob", "Where inputs leave", "At the operating point of the knob.", spec)


def _class_shares(material: ReportInputs, found: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    labels = material.bench.labels if material.bench is not None else ()
    judged = next((s for s in found if s.name == start and s.exits_by_class), None)
    if judged is None or judged.exits_by_class is None or not labels:
        return
    shown = _telling_classes(judged.exits_by_class)
    n = len(judged.exits_by_class[0])
    values = [
        {"point": s.name, "class": labels[c], "exit": exit_name(k, n), "order": k, "inputs": count}
        for s in found
        if s.exits_by_class is not None
        for c in shown
        for k, count in enumerate(s.exits_by_class[c])
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
    caption = f"Sorted by how many leave early at {start}; follows the knob.{which}"
    yield Chart("class-shares", "classes", "Where each class leaves", caption, spec)


def _telling_classes(counts: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the classes, those whose inputs leave early first; of many the two ends."""
    order = sorted(range(len(counts)), key=lambda c: counts[c][-1] / max(sum(counts[c]), 1))
    half = _MOST_CLASSES // 2
    return order if len(order) <= _MOST_CLASSES else [*order[:half], *order[-half:]]


def _reliabilities(material: ReportInputs) -> Iterator[Chart]:
    exits = material.bench.exits if material.bench is not None else ()
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


def _times(material: ReportInputs, found: Sequence[ReportPoint], start: str) -> Iterator[Chart]:
    rows = time_rows(material, found)
    if not rows:
        return
    values = [{"point": r.point, "part": r.part, "kind": r.kind, "call": r.call_ms, "mean": r.mean_ms} for r in rows]
    kinds = ["segment", "exit head", "gates and dispatch"]
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
        "Segments are blue, exit heads orange, gates and dispatch green. Outline: median of one call. Filled: what it "
        "adds to the mean input, since not every input gets that far; the filled bars add up to about the mean latency "
        "at the knob's operating point."
    )
    yield Chart("time", "time", "Where the time goes", caption, spec)
