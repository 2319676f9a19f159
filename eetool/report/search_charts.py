"""Charts of an architecture search: its front, and the hypervolume by evaluations."""

from collections.abc import Iterator, Sequence

from eetool.report.chart import Chart
from eetool.report.chart_theme import BLUE, GREY, Spec, chart, quantity
from eetool.report.inputs import CandidateSummary, SearchProgress, SearchSummary
from eetool.wording import counted

_COSTS = {
    "macs": "mean MACs of everything that ran (million)",
    "latency_ms": "mean latency (ms)",
    "energy_mj": "mean energy (mJ)",
}
_UNITS = {"macs": "MACs", "latency_ms": "ms", "energy_mj": "mJ"}
_FRONT, _KEPT, _OVER = "on the front", "tried", "over a limit"
_SHAPES = {_FRONT: "circle", _KEPT: "diamond", _OVER: "cross"}


def search_charts(search: SearchSummary | None) -> Iterator[Chart]:
    """Yield the front among all candidates by the minimised cost, and its hypervolume by evaluations."""
    if search is None:
        return
    cost = search.objective if search.objective in _COSTS else "macs"
    where = f" Costs are predicted for {search.device}." if search.device is not None else ""
    caption = (
        f"{len(search.front)} operating points of {counted(search.evaluated, 'candidate')} "
        f"({search.feasible} keep to the limits) "
        f"that no other dominates, by {search.algorithm}. The circle marks the knee of the front.{where}"
    )
    yield Chart("search-front", "search", "The front", caption, _front(search, cost))
    if search.history:
        caption = "The area that the front dominates; where it is flat, more candidates did not help."
        yield Chart("search-history", "search", "Progress of the search", caption, _history(search, cost))


def _front(search: SearchSummary, cost: str) -> Spec:
    on_front = {c.id for c in search.front}
    tried = [
        {**_point(step, cost), "kind": _KEPT if step.feasible else _OVER}
        for step in search.history
        if step.id not in on_front
    ]
    best = [
        {**_point(c.figures, cost), "id": c.id, "net": c.backbone, "knee": c.id == search.knee, "kind": _FRONT}
        for c in search.front
    ]
    values = [value for value in (*tried, *best) if value["cost"] is not None]
    place = {
        "x": quantity("cost", _COSTS[cost], zero=False, padding=8),
        "y": quantity("accuracy", "accuracy (%)", zero=False, padding=8),
    }
    tooltip = [
        {"field": "cost", "type": "quantitative", "title": _COSTS[cost], "format": ".3~r"},
        {"field": "accuracy", "type": "quantitative", "title": "accuracy (%)", "format": ".2f"},
    ]
    layers: list[Spec] = [
        {
            "transform": [{"filter": "isValid(datum.net)"}],
            "mark": {"type": "line", "color": BLUE, "strokeWidth": 1, "opacity": 0.6, "interpolate": "step-after"},
            "encoding": {**place, "order": {"field": "cost"}},
        },
        {
            "transform": [{"filter": "datum.knee"}],
            "mark": {"type": "point", "size": 400, "color": "currentColor", "strokeWidth": 1.5},
            "encoding": place,
        },
        {
            "mark": {"type": "point", "size": 70, "opacity": 1, "strokeWidth": 1.5},
            "encoding": {**place, **_kinds(tried), "tooltip": [{"field": "id"}, {"field": "net"}, *tooltip]},
        },
    ]
    return chart("accuracy against cost of every candidate, and the front of them", 300, values, layers)


def _kinds(tried: Sequence[Spec]) -> Spec:
    """Return colours and shapes; candidates that are not on the front have their own, where there are any."""
    kinds = [_FRONT, *(kind for kind in (_KEPT, _OVER) if any(value["kind"] == kind for value in tried))]
    scale = {"domain": kinds, "range": [BLUE if kind == _FRONT else GREY for kind in kinds]}
    shapes = {"domain": kinds, "range": [_SHAPES[kind] for kind in kinds]}
    legend: Spec = {"legend": {} if tried else None}
    return {
        "color": {"field": "kind", "type": "nominal", "scale": scale, **legend},
        "shape": {"field": "kind", "type": "nominal", "scale": shapes, **legend},
    }


def _point(figures: CandidateSummary | SearchProgress, cost: str) -> Spec:
    price = {"macs": figures.macs / 1e6, "latency_ms": figures.latency_ms, "energy_mj": figures.energy_mj}[cost]
    return {"cost": price, "accuracy": 100 * figures.accuracy}


def _history(search: SearchSummary, cost: str) -> Spec:
    values = [{"evaluated": step.evaluated, "hypervolume": step.hypervolume} for step in search.history]
    layer: Spec = {
        "mark": {"type": "line", "color": BLUE, "interpolate": "step-after", "tooltip": True},
        "encoding": {
            "x": quantity("evaluated", "candidates tried (number)"),
            "y": quantity("hypervolume", f"hypervolume (error × {_UNITS[cost]})", zero=False),
        },
    }
    return chart("hypervolume of the front by candidates tried", 300, values, [layer])
