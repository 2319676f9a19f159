"""Charts as files for papers: SVG and PNG, dark on white."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eetool.errors import MissingError
from eetool.progress import SILENT, Progress
from eetool.records import check_output, write_atomic
from eetool.report.chart import Chart
from eetool.report.chart_theme import config
from eetool.report.page import MISSING, VEGA_LITE

_SUFFIXES = (".svg", ".png")
_WIDTH = 460  # points; half of it is a column of a two-column paper
_INK = "#1b1f24"
_PNG_SCALE = 3.0


def write_charts(charts: Sequence[Chart], folder: Path, force: bool = False, progress: Progress = SILENT) -> list[Path]:
    """Write NAME.svg and NAME.png of every chart into `folder`, as they look where the knob stands at first.

    Raises:
        OutputError: one exists and `force` was not given, or it cannot be written.
        MissingError: the package that draws is not installed.
    """
    try:
        import vl_convert
    except ImportError:
        raise MissingError(*MISSING) from None
    for chart in charts:
        for suffix in _SUFFIXES:
            check_output(folder / f"{chart.name}{suffix}", force)
    written = []
    with progress("figures", len(charts)) as advance:
        for chart in charts:
            spec = printable_chart(chart)
            svg: str = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
            png: bytes = vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=_PNG_SCALE)
            for suffix, data in zip(_SUFFIXES, (svg.encode(), png), strict=True):
                path = folder / f"{chart.name}{suffix}"
                write_atomic(path, data, force)
                written.append(path)
            advance(1)
    return written


def printable_chart(chart: Chart) -> dict[str, Any]:
    """The chart at a fixed width, with a title and ink of its own, since no page is around it."""
    spec = _inked(chart.spec)
    return {**spec, "width": _WIDTH, "autosize": "pad", "background": "white", "config": config(_INK)}


def _inked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _inked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_inked(item) for item in value]
    return _INK if value == "currentColor" else value
