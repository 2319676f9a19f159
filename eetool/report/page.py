"""The page: one file with everything in it, whose first words are the verdict.

The markup is that of the templates beside this module. Whatever they are given is escaped as it is written, data for
scripts too; only `_library` and the two files of the page itself are taken as they are.
"""

import base64
import hashlib
import importlib.resources
from collections import defaultdict
from collections.abc import Mapping, Sequence

from eetool import __version__
from eetool.errors import MissingError
from eetool.report.chart import Chart
from eetool.report.formatting import tile_texts, verdict_words
from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import ReportPoint
from eetool.report.sections import certificates, examples, machines, nets, origins, predictions, training

VEGA_LITE = "6.1"
MISSING = (
    "a library that the report is made with is not installed",
    'They are jinja2 and vl-convert-python, of the extra report: pip install "eetool[report]".',
)


def render_page(
    material: ReportInputs,
    found: Sequence[ReportPoint],
    positions: Sequence[ReportPoint],
    start: str,
    charts: Sequence[Chart],
    pictures: Mapping[int, str],
) -> str:
    """Return the whole report as HTML.

    Args:
        positions: the operating points in the order of the knob, which stands at `start` first.
        pictures: data URLs by index in the data source.

    Raises:
        MissingError: a library that the page is made with is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingError(*MISSING) from None
    place = next((i for i, s in enumerate(positions) if s.name == start), 0)
    points = [{"name": s.name, "shown": tile_texts(s, material)} for s in positions]
    scripts = [_library(), _text("page.js")]
    headline, sentence, facts = verdict_words(material)
    environment = Environment(
        loader=PackageLoader("eetool.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.get_template("page.html").render(
        version=__version__,
        headline=headline,
        sentence=sentence,
        facts=facts,
        style=Markup(_text("page.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
        data={"points": points, "start": place, "figures": {chart.name: chart.spec for chart in charts}},
        points=points,
        place=place,
        charts=_by_section(charts),
        nets=nets(found, material),
        certificates=certificates(material),
        bench=material.bench,
        examples=examples(material, pictures),
        predictions=predictions(material),
        training=training(material),
        machines=machines(material),
        origins=origins(material),
    )


def _by_section(charts: Sequence[Chart]) -> Mapping[str, list[Chart]]:
    found: defaultdict[str, list[Chart]] = defaultdict(list)
    for chart in charts:
        found[chart.section].append(chart)
    return found


def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the package that also draws the files of --figures."""
    try:
        import vl_convert
    except ImportError:
        raise MissingError(*MISSING) from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")


def _hash(script: str) -> str:
    """Return what names a script to the content security policy of the page."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _text(name: str) -> str:
    return (importlib.resources.files("eetool.report") / name).read_text(encoding="utf-8").rstrip()
