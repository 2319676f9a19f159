"""A chart of the report."""

from dataclasses import dataclass

from eetool.report.chart_theme import Spec


@dataclass(frozen=True)
class Chart:
    """A chart with its `name` (an identifier, and the name of its file), its section, and words for the reader."""

    name: str
    section: str
    title: str
    caption: str
    spec: Spec
