"""A chart of the report."""

from dataclasses import dataclass

from eetool.report.chart_theme import Spec


@dataclass(frozen=True)
class Chart:
    """A chart for one section of the page; `name` is its identifier and its file name."""

    name: str
    section: str
    title: str
    caption: str
    spec: Spec
