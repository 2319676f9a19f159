"""HTML page of a report: one self-contained file that begins with the verdict.

The HTML comes from the templates in this folder. All their values are escaped, data for scripts included. Only the
script library and the two files of the page itself are inserted unescaped.
"""

import base64
import hashlib
import importlib.resources
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eetool import __version__
from eetool.errors import MissingError
from eetool.metrics import degenerate_exit
from eetool.report.chart import Chart
from eetool.report.formatting import measured_text, tile_texts, unstable_texts, verdict_texts
from eetool.report.inputs import ReportInputs
from eetool.report.next_steps import next_steps
from eetool.report.operating_points import ReportPoint
from eetool.report.sections import (
    certificates,
    comparison_rows,
    examples,
    forecast,
    machines,
    origins,
    predictions,
    training,
)
from eetool.wording import cut_remarks

if TYPE_CHECKING:
    from jinja2 import Template

VEGA_LITE = "6.1"
MISSING = (
    "a library that the report is made with is not installed",
    'They are jinja2 and vl-convert-python, of the extra report: pip install "eetool[report]".',
)


def render_page(
    inputs: ReportInputs,
    points: Sequence[ReportPoint],
    positions: Sequence[ReportPoint],
    start: str,
    charts: Sequence[Chart],
    pictures: Mapping[int, str],
) -> str:
    """Return the whole report as HTML.

    Args:
        inputs: documents and bundle.
        points: rows of the comparison.
        positions: operating points in the order of the slider.
        start: name of the initial operating point.
        charts: charts of all sections.
        pictures: previews of examples by index in the data source.

    Raises:
        MissingError: a library that renders the page is not installed.
    """
    template = _template()
    from markupsafe import Markup

    place = next((i for i, s in enumerate(positions) if s.name == start), 0)
    date = time.strftime("%Y-%m-%d", time.gmtime())
    slider = [{"name": s.name, "shown": tile_texts(s, inputs)} for s in positions]
    scripts = [_library(), _text("page.js")]
    headline, sentence, facts = verdict_texts(inputs)
    return template.render(
        version=__version__,
        headline=headline,
        sentence=sentence,
        facts=facts,
        measured=measured_text(inputs),
        unstable=unstable_texts(inputs),
        steps=next_steps(inputs),
        date=date,
        style=Markup(_text("page.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
        data={"points": slider, "start": place, "figures": {chart.name: chart.spec for chart in charts}},
        slider=slider,
        place=place,
        charts=_by_section(charts),
        rows=comparison_rows(points, inputs),
        remarks=cut_remarks({point.name: degenerate_exit(point.exit_shares or ()) for point in points}),
        certificates=certificates(inputs),
        bench=inputs.bench,
        examples=examples(inputs, pictures),
        predictions=predictions(inputs),
        forecast=forecast(inputs),
        training=training(inputs),
        machines=machines(inputs),
        origins=origins(inputs),
    )


def _template() -> "Template":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingError(*MISSING) from None
    environment = Environment(
        loader=PackageLoader("eetool.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.get_template("page.html")


def _by_section(charts: Sequence[Chart]) -> Mapping[str, list[Chart]]:
    sections: defaultdict[str, list[Chart]] = defaultdict(list)
    for chart in charts:
        sections[chart.section].append(chart)
    return sections


def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the package that also draws chart files."""
    try:
        import vl_convert
    except ImportError:
        raise MissingError(*MISSING) from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")


def _hash(script: str) -> str:
    """Return the hash of a script for the content security policy of the page."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _text(name: str) -> str:
    return (importlib.resources.files("eetool.report") / name).read_text(encoding="utf-8").rstrip()
