"""How charts look: on dark and light ground, in print, and to those who see no colours."""

from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]

# Of Okabe and Ito's palette the colours whose contrast is at least 3:1 on white and on black alike.
BLUE, VERMILION, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#808080"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
# One hue from light to dark, so that the order of exits is seen without colours too; outlines part neighbours.
_LIGHT, _DARK = (0xC6, 0xDB, 0xEF), (0x08, 0x45, 0x94)
INK = "currentColor"  # the colour of the text around the chart


def ramp(n: int) -> list[str]:
    """`n` shades from light to dark."""
    steps = [i / max(n - 1, 1) for i in range(n)]
    return ["#" + "".join(f"{round(a + (b - a) * t):02x}" for a, b in zip(_LIGHT, _DARK, strict=True)) for t in steps]


def exit_scale(n: int) -> Spec:
    """Scale of the colours of exits 0 … n − 1."""
    return {"domain": [exit_name(k, n) for k in range(n)], "range": ramp(n)}


def exit_name(k: int, n: int) -> str:
    """`exit 0`, `exit 1`, …, `final exit`."""
    return "final exit" if k == n - 1 else f"exit {k}"


def config(ink: str = INK) -> Spec:
    """Configuration that all charts share."""
    quiet = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {
            **quiet, "domainColor": ink, "tickColor": ink, "gridColor": ink, "gridOpacity": 0.15, "tickCount": 5,
            # Pushed inwards at both ends of an axis, labels would meet their neighbours on narrow screens.
            "labelOverlap": "greedy", "labelSeparation": 20, "labelFlush": False,
            # So far from the axis that the first labels of both do not meet in the corner.
            "labelPadding": 5,
        },
        "legend": {
            **quiet, "orient": "bottom", "columns": 3, "labelLimit": 110, "title": None, "symbolStrokeWidth": 2,
            "columnPadding": 12,
        },
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
    }  # fmt: skip


def chart(description: str, height: int, values: Sequence[Spec], layers: Sequence[Spec], **more: Any) -> Spec:
    """A Vega-Lite chart as wide as its container, on `values`; `layers` share what `more` says."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": list(values)},
        "layer": list(layers),
        "config": config(),
        **more,
    }


def quantity(name: str, title: str, domain: Sequence[float] | None = None, zero: bool = True, padding: int = 0) -> Spec:
    """Encoding of a number on an axis; the title names its unit. `padding` are pixels that marks at the edge need."""
    free: Spec = {"zero": zero, "nice": True, "padding": padding}
    scale = free if domain is None else {"domain": list(domain)}
    return {"field": name, "type": "quantitative", "title": title, "scale": scale}


def every_name(field: str) -> Spec:
    """Encoding of names along an axis, in the order of the data; none of them is left out."""
    return {"field": field, "sort": None, "title": None, "axis": {"labelLimit": 130, "labelOverlap": False}}


def point_parameter(start: str) -> list[Spec]:
    """The signal `point`, which the knob sets: the name of an operating point."""
    return [{"name": "point", "value": start}]


HERE = {"filter": "datum.point === point"}
