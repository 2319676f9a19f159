"""Break-even of `offload.py`: on which links a server pays, by the rule and as measured, and the chart of both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from offload_cases import BREAK_EVEN, LARGE, SMALL, Case, Settings, bundle_of

from eetool.report.chart import Chart
from eetool.report.chart_files import printable_chart
from eetool.report.chart_theme import BLUE, GREEN, GREY, VERMILION
from eetool.report.page import VEGA_LITE
from eetool_runtime import open_bundle

RATES_MBIT_S = np.geomspace(1, 200, 300)
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
_CUTS = ("input, uint8", "behind exit 0, uint8", "behind exit 0, fp32", "behind exit 1, uint8")
_COLOURS, _DASHES = (GREEN, BLUE, VERMILION, GREY), ([1, 0], [8, 3], [2, 2], [8, 3, 2, 3])
TITLES = {SMALL: "ResNet-56, 32 pixels", LARGE: "MobileNetV2, 224 pixels"}


def tail_ms(settings: Settings, case: Case, predicted: Mapping[str, float]) -> float:
    """Return the latency on the device of what lies behind the cut, from that of the components."""
    manifest = open_bundle(bundle_of(settings, case)).manifest
    names = [component.name for component in manifest.components]
    first = 0 if case.cut == "input" else names.index(manifest.exits[int(case.cut)].component) + 1
    last = manifest.exits[-1].component  # early exits behind the cut would run, too
    return sum(predicted[name] for name in names[first : names.index(last) + 1])


def break_even(
    settings: Settings, links: Mapping[str, Any], predicted: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return for every cut the times on device and server, and on every link what rule and measurement say.

    The rule: a server pays where round trip + bits / rate + time of the server are below the time on the device. The
    time of the server, which includes encoding and protocol, is the least that calls took beyond the link's own time.
    """
    rows = []
    for case in BREAK_EVEN:
        calls = {name: link["calls"][case.name] for name, link in links.items()}
        size = next(iter(calls.values()))["bytes"]
        wire = {name: links[name]["round_trip_ms"] + size * 8e-3 / links[name]["rate_mbit_s"] for name in links}
        server_ms = min(call["p50_ms"] - wire[name] for name, call in calls.items())
        on_device = tail_ms(settings, case, predicted[case.network])
        rows.append(
            {
                "network": case.network,
                "cut": case.cut,
                "wire": case.wire,
                "bytes": size,
                "tail_ms": on_device,
                "server_ms": server_ms,
                "links": {
                    name: {
                        "measured_ms": call["p50_ms"],
                        "rule_ms": wire[name] + server_ms,
                        "pays": call["p50_ms"] < on_device,
                        "rule_pays": wire[name] + server_ms < on_device,
                        "round_trip_ms": links[name]["round_trip_ms"],
                        "rate_mbit_s": links[name]["rate_mbit_s"],
                    }
                    for name, call in calls.items()
                },
            }
        )
    return rows


def chart_spec(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the chart in Vega-Lite: per network, the round trip up to which each cut pays, over the rate."""
    lines = [
        {
            "network": TITLES[row["network"]],
            "cut": _label(row),
            "rate": float(rate),
            "round_trip": row["tail_ms"] - row["server_ms"] - row["bytes"] * 8e-3 / float(rate),
        }
        for row in rows
        for rate in RATES_MBIT_S
    ]
    points = [
        {
            "network": TITLES[row["network"]],
            "rate": link["rate_mbit_s"],
            "round_trip": link["round_trip_ms"],
            "link": "some cut pays" if any(_pays(rows, row["network"], name)) else "no cut pays",
        }
        for row in rows
        for name, link in row["links"].items()
    ]
    x = _axis("rate", "rate of the link, Mbit/s", 200)
    y = _axis("round_trip", "round trip, ms", 200)
    shape: dict[str, Any] = {
        "field": "link",
        "type": "nominal",
        "title": "measured",
        "scale": {"domain": ["some cut pays", "no cut pays"], "range": ["circle", "cross"]},
    }
    colour = {
        "field": "cut",
        "type": "nominal",
        "title": "sent; pays below the line",
        "scale": {"domain": _CUTS, "range": _COLOURS},
        "legend": {"columns": 2, "labelLimit": 200},
    }
    dash = {**colour, "scale": {"domain": _CUTS, "range": _DASHES}}
    shape["legend"] = {"columns": 1, "labelLimit": 200}
    header = {"labelFontSize": 12, "labelColor": "currentColor"}
    return {
        "facet": {
            "column": {
                "field": "network",
                "type": "nominal",
                "title": None,
                "sort": list(TITLES.values()),
                "header": header,
            }
        },
        "data": {"values": [*(line for line in lines if line["round_trip"] >= 1), *points]},
        "spec": {
            "width": 260,
            "height": 240,
            "layer": [
                {
                    "transform": [{"filter": "isValid(datum.cut)"}],
                    "mark": {"type": "line", "strokeWidth": 2},
                    "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash},
                },
                {
                    "transform": [{"filter": "isValid(datum.link)"}],
                    "mark": {"type": "point", "filled": True, "size": 70, "color": "currentColor"},
                    "encoding": {"x": x, "y": y, "shape": shape},
                },
            ],
        },
    }


def _axis(field: str, title: str, end: float) -> dict[str, Any]:
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"type": "log", "domain": [1, end], "nice": False},
        "axis": {"values": _TICKS, "tickCount": len(_TICKS), "labelOverlap": False},
    }


def _pays(rows: list[dict[str, Any]], network: str, link: str) -> list[bool]:
    return [row["links"][link]["pays"] for row in rows if row["network"] == network]


def _label(row: Mapping[str, Any]) -> str:
    place = "input" if row["cut"] == "input" else f"behind exit {row['cut']}"
    return f"{place}, {row['wire']}"


def write_chart(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the chart as an SVG file."""
    import vl_convert

    chart = Chart(path.stem, "", "", "", chart_spec(rows))
    spec = printable_chart(chart)
    spec.pop("width")
    path.write_text(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE), encoding="utf-8")
