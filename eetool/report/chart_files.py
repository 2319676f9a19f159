"""Chart files for papers: SVG and PNG, dark on white."""

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
    """Write NAME.svg and NAME.png of every chart into `folder`, at the initial operating point.

    Raises:
        OutputError: one exists and `force` was not given, or it cannot be written.
        MissingError: the package that draws them is not installed.
    """
    try:
        import vl_convert
    except ImportError:
        raise MissingError(*MISSING) from None
    for chart in charts:
        for suffix in _SUFFIXES:
            check_output(folder / f"{chart.name}{suffix}", force)
    paths = []
    with progress("figures", len(charts)) as advance:
        for chart in charts:
            spec = printable_chart(chart)
            svg: str = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
            png: bytes = vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=_PNG_SCALE)
            for suffix, data in zip(_SUFFIXES, (svg.encode(), png), strict=True):
                path = folder / f"{chart.name}{suffix}"
                write_atomic(path, data, force)
                paths.append(path)
            advance(1)
    return paths


def printable_chart(chart: Chart) -> dict[str, Any]:
    """Return the specification at a fixed width and in dark colour, for use outside the page."""
    spec = _with_ink(chart.spec)
    return {**spec, "width": _WIDTH, "autosize": "pad", "background": "white", "config": config(_INK)}


def _with_ink(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_ink(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_ink(item) for item in value]
    return _INK if value == "currentColor" else value
