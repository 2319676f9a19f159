"""Charts of an architecture search: the front that it found, and how it got there."""

from collections.abc import Iterator

from eetool.report.documents import Found, Search
from eetool.report.figure import Figure
from eetool.report.theme import BLUE, Spec, chart, quantity

_COSTS = {
    "macs": "mean MACs of everything that ran (million)",
    "latency_ms": "mean latency (ms)",
    "energy_mj": "mean energy (mJ)",
}


def search_figures(search: Search | None) -> Iterator[Figure]:
    """The front by the cost that was searched by, and the history where the document has one."""
    if search is None:
        return
    cost = search.objective if search.objective in _COSTS else "macs"
    where = f" Costs are predicted for {search.device}." if search.device is not None else ""
    caption = (
        f"{len(search.front)} of {search.evaluated} candidates ({search.feasible} keep to the limits) that no other "
        f"beats, by {search.algorithm}. Circled: the bend of the front.{where}"
    )
    yield Figure("search-front", "search", "The front", caption, _front(search, cost))
    if search.history:
        caption = "The area that the front covers: flat means that more candidates no longer helped."
        yield Figure("search-history", "search", "How it got there", caption, _history(search))


def _front(search: Search, cost: str) -> Spec:
    values = [
        {
            "id": c.id,
            "net": c.backbone,
            "cost": value,
            "accuracy": 100 * c.figures.accuracy,
            "knee": c.id == search.knee,
        }
        for c in search.front
        if (value := _cost(c, cost)) is not None
    ]
    place = {
        "x": quantity("cost", _COSTS[cost], zero=False),
        "y": quantity("accuracy", "accuracy (%)", zero=False, padding=8),
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "color": BLUE, "strokeWidth": 1, "opacity": 0.6, "interpolate": "step-after"},
            "encoding": {**place, "order": {"field": "cost"}},
        },
        {
            "transform": [{"filter": "datum.knee"}],
            "mark": {"type": "point", "size": 400, "color": "currentColor", "strokeWidth": 1.5},
            "encoding": place,
        },
        {
            "mark": {"type": "point", "filled": True, "color": BLUE, "size": 70, "opacity": 1, "tooltip": True},
            "encoding": {
                **place,
                "tooltip": [{"field": name} for name in ("id", "net")]
                + [
                    {"field": "cost", "type": "quantitative", "title": _COSTS[cost], "format": ".3~r"},
                    {"field": "accuracy", "type": "quantitative", "title": "accuracy (%)", "format": ".2f"},
                ],
            },
        },
    ]
    return chart("accuracy against cost of every candidate on the front", 300, values, layers)


def _cost(candidate: Found, cost: str) -> float | None:
    f = candidate.figures
    return {"macs": f.macs / 1e6, "latency_ms": f.latency_ms, "energy_mj": f.energy_mj}[cost]


def _history(search: Search) -> Spec:
    values = [{"evaluated": step.evaluated, "hypervolume": step.hypervolume} for step in search.history]
    layer: Spec = {
        "mark": {"type": "line", "color": BLUE, "interpolate": "step-after", "tooltip": True},
        "encoding": {
            "x": quantity("evaluated", "candidates tried (number)"),
            "y": quantity("hypervolume", "hypervolume (error × cost)", zero=False),
        },
    }
    return chart("hypervolume of the front by candidates tried", 300, values, [layer])
