"""Style of charts, for dark and light pages, print, and readers who do not see colours."""

from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]

# Colours of Okabe and Ito's palette with a contrast of at least 3:1 on both white and black.
BLUE, VERMILION, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#808080"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
# One hue from light to dark, so that the order of exits shows without colours; outlines separate neighbours.
_LIGHT, _DARK = (0xC6, 0xDB, 0xEF), (0x08, 0x45, 0x94)
INK = "currentColor"  # colour of the text around the chart


def ramp(n: int) -> list[str]:
    """Return `n` shades from light to dark."""
    steps = [i / max(n - 1, 1) for i in range(n)]
    return ["#" + "".join(f"{round(a + (b - a) * t):02x}" for a, b in zip(_LIGHT, _DARK, strict=True)) for t in steps]


def exit_scale(n: int) -> Spec:
    """Return the colour scale of exits 0 … n − 1."""
    return {"domain": [exit_name(k, n) for k in range(n)], "range": ramp(n)}


def exit_name(k: int, n: int) -> str:
    """Return `exit 0`, `exit 1`, …, or `final exit`."""
    return "final exit" if k == n - 1 else f"exit {k}"


def config(ink: str = INK) -> Spec:
    """Return the configuration that all charts share."""
    labels = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {
            **labels, "domainColor": ink, "tickColor": ink, "gridColor": ink, "gridOpacity": 0.15, "tickCount": 5,
            # Labels pushed inwards at the ends of an axis would overlap their neighbours on narrow screens.
            "labelOverlap": "greedy", "labelSeparation": 20, "labelFlush": False,
            # Distance from the axis at which the first labels of both axes do not overlap in the corner.
            "labelPadding": 5,
        },
        "legend": {
            **labels, "orient": "bottom", "columns": 3, "labelLimit": 110, "title": None, "symbolStrokeWidth": 2,
            "columnPadding": 12,
        },
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
    }  # fmt: skip


def chart(description: str, height: int, values: Sequence[Spec], layers: Sequence[Spec], **more: Any) -> Spec:
    """Return a Vega-Lite chart of `values` as wide as its container; `more` applies to all `layers`."""
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
    """Return the encoding of a number on an axis.

    Args:
        name: field of the data.
        title: title of the axis, with the unit.
        domain: fixed ends of the axis.
        zero: the axis includes 0.
        padding: pixels for marks at the edge.
    """
    automatic: Spec = {"zero": zero, "nice": True, "padding": padding}
    scale = automatic if domain is None else {"domain": list(domain)}
    return {"field": name, "type": "quantitative", "title": title, "scale": scale}


def every_name(field: str) -> Spec:
    """Return the encoding of names along an axis, all of them, in the order of the data."""
    return {"field": field, "sort": None, "title": None, "axis": {"labelLimit": 130, "labelOverlap": False}}


def point_parameter(start: str) -> list[Spec]:
    """Return the parameter `point`, the name of an operating point, which the slider sets."""
    return [{"name": "point", "value": start}]


HERE = {"filter": "datum.point === point"}
