"""The page: one file with everything in it, whose first words are the verdict."""

import importlib.resources
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources.abc import Traversable
from string import Template

from eetool import __version__
from eetool.errors import MissingError
from eetool.report.documents import Material
from eetool.report.figure import Figure
from eetool.report.knob import Setting
from eetool.report.sections import certificates, examples, knob_panel, nets, predictions, provenance, training
from eetool.report.words import shown, verdict_words

VEGA_LITE = "6.1"
MISSING = (
    "the library that draws charts is not installed",
    'It is vl-convert-python, of the extra report: pip install "eetool[report]".',
)
_TITLES = {
    "front": "What accuracy costs",
    "reliability": "How far each exit's confidence can be trusted",
    "classes": "Where each class leaves",
    "time": "Where the time goes",
    "search": "The search",
}
_NOTES = {
    "reliability": (
        "Every exit on every test input, none skipped. On the dashed line confidence is accuracy; below it the exit is "
        "too sure. The area of a point is the number of inputs in the bin. AUROC is the probability that a right "
        "answer is surer than a wrong one: a gate lives on that."
    ),
}


def page(
    material: Material,
    found: Sequence[Setting],
    positions: Sequence[Setting],
    start: str,
    charts: Sequence[Figure],
    pictures: Mapping[int, str],
) -> str:
    """The whole report as HTML.

    Args:
        positions: the operating points in the order of the knob, which stands at `start` first.
        pictures: data URLs by index in the data source.

    Raises:
        MissingError: the library that draws is not installed.
    """
    place = next((i for i, s in enumerate(positions) if s.name == start), 0)
    data = {
        "points": [{"name": s.name, "shown": shown(s, material)} for s in positions],
        "start": place,
        "figures": {chart.name: chart.spec for chart in charts},
    }
    headline, sentence, facts = verdict_words(material)
    body = [
        f'<header class="verdict"><h1>{escape(headline)}</h1><p>{escape(sentence)}</p>'
        f'<p class="soft">{escape(facts)}</p></header>',
        "<main>",
        knob_panel(material, positions, place, _charts(charts, "knob")),
        _section("front", f'<div class="two">{_charts(charts, "front")}</div>{nets(found, material)}'),
        certificates(material),
        _section("reliability", _wrapped("three", _charts(charts, "reliability"))),
        _section("classes", _charts(charts, "classes", titled=False)),
        examples(material, pictures),
        _section("time", _charts(charts, "time", titled=False)),
        predictions(material),
        training(material),
        _section("search", _wrapped("two", _charts(charts, "search"))),
        "</main>",
        provenance(material, __version__),
    ]
    folder = importlib.resources.files("eetool.report")
    return Template(_text(folder, "page.html")).substitute(
        title=escape(f"{headline} – eetool"),
        style=_text(folder, "page.css").rstrip(),
        body="\n".join(part for part in body if part),
        data=_embedded(json.dumps(data, ensure_ascii=False, allow_nan=False)),
        library=_library(),
        script=_text(folder, "page.js").rstrip(),
    )


def _section(name: str, inner: str) -> str:
    if "<figure" not in inner and "<table" not in inner:
        return ""
    note = f'<p class="soft">{escape(_NOTES[name])}</p>' if name in _NOTES else ""
    return f'<section id="{name}"><h2>{escape(_TITLES[name])}</h2>{note}{inner}</section>'


def _charts(charts: Sequence[Figure], section: str, titled: bool = True) -> str:
    return "".join(_figure(chart, titled) for chart in charts if chart.section == section)


def _figure(chart: Figure, titled: bool) -> str:
    title = f"<h3>{escape(chart.title)}</h3>" if titled else ""
    return (
        f'<figure>{title}<div class="chart" id="figure-{chart.name}"></div>'
        f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
    )


def _wrapped(css_class: str, inner: str) -> str:
    return f'<div class="{css_class}">{inner}</div>' if inner else ""


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the package that also draws the files of --figures."""
    try:
        import vl_convert
    except ImportError:
        raise MissingError(*MISSING) from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")


def _embedded(text: str) -> str:
    """JSON that ends no script element, whatever names it holds."""
    return text.replace("<", "\\u003c")


def _text(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")
