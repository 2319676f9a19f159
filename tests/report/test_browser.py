"""The page in a real Chromium: drawing, the slider, overlaps, and contrast in light and dark."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from eetool.report.chart_theme import chart, quantity

WIDTHS = (1280, 390)
# What overlaps, sticks out or cannot be read, by the boxes of elements and of texts in charts.
OVERLAPS = """
() => {
  const found = [];
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const compare = (elements) => {
    const boxes = elements.map((e) => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width && b.height);
    boxes.forEach(([e, a], i) => boxes.slice(i + 1).forEach(([f, b]) => {
      if (meet(a, b)) found.push(`${e.textContent.slice(0, 40)} | ${f.textContent.slice(0, 40)}`);
    }));
  };
  for (const parent of document.querySelectorAll("body, header, main, section, figure, div, dl, ul, footer")) {
    if (parent.closest(".chart")) continue;
    compare([...parent.children].filter((e) => !["SCRIPT", "STYLE"].includes(e.tagName)));
  }
  for (const svg of document.querySelectorAll(".chart svg")) compare([...svg.querySelectorAll("text")]);
  for (const e of document.querySelectorAll("main *, header *, footer *")) {
    const box = e.getBoundingClientRect();
    if (!box.width || e.closest(".scroll")) continue;
    if (box.right > innerWidth + 1) found.push(`sticks out: ${e.outerHTML.slice(0, 80)}`);
  }
  return found;
}
"""
# The least contrast (WCAG 2) of any text of the page with its ground.
CONTRAST = """
() => {
  const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const luminance = (text) => channels(text).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  let least = 21;
  for (const e of document.querySelectorAll("h1, h2, p, td, th, dd, dt, figcaption, .chart svg text")) {
    if (e.textContent.trim() === "" || e.getAttribute("fill") === "white") continue;
    const style = getComputedStyle(e);
    const ink = luminance(e instanceof SVGElement ? style.fill : style.color);
    least = Math.min(least, (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05));
  }
  return least;
}
"""


class Opened:
    """The report in a tab, with its errors and every address that it requested."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console", lambda line: self.wrong.append(line.text) if line.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]", timeout=60_000)

    def turn(self, place: int) -> None:
        self.page.evaluate(
            """(place) => { const slider = document.getElementById("slider"); slider.value = place;
                            slider.dispatchEvent(new Event("input")); }""",
            place,
        )
        self.page.wait_for_timeout(100)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))


@pytest.mark.parametrize("width", WIDTHS)
def test_page_any_width_draws_offline_without_overlap(browser: Any, reported: Any, width: int) -> None:
    opened = Opened(browser, reported.page, width)
    assert opened.wrong == []
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    for name in reported.document["charts"]:
        box = opened.page.locator(f"#figure-{name} svg").bounding_box()
        assert box is not None
        assert (box["width"] > 150, box["height"] > 40) == (True, True), name
        words = opened.page.locator(f"#figure-{name} svg text").all_text_contents()
        assert any(re.search(r"\((%|ms|mJ|million)\)$", word) for word in words), (name, words)
    parts = opened.page.locator("#figure-time svg .role-axis-label text").all_text_contents()
    assert {"seg0", "exit0", "seg1", "exit1", "exit2"} <= set(parts)
    assert opened.page.evaluate(OVERLAPS) == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing follows the footer.
    bottom = "document.querySelector('footer').getBoundingClientRect().bottom + scrollY"
    assert opened.page.evaluate(f"document.documentElement.scrollHeight - ({bottom})") <= 32
    # The verdict shows without scrolling.
    heading = opened.page.locator("h1").bounding_box()
    assert heading["y"] < 100


def test_chart_first_labels_of_both_axes_do_not_overlap(browser: Any) -> None:
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    encoding = {"x": quantity("x", "x (ms)"), "y": quantity("y", "y (%)", domain=(75, 95))}
    drawn = chart("a corner", 200, [{"x": 0.0, "y": 75}, {"x": 0.04, "y": 95}], [{"mark": "point"}], encoding=encoding)
    page = browser.new_page()
    page.set_content(f'<div class="chart">{vl_convert.vegalite_to_svg({**drawn, "width": 400})}</div>')
    words = page.locator("svg text").all_text_contents()
    assert {"0.00", "75"} <= set(words)
    assert page.evaluate(OVERLAPS) == []


def test_page_slider_moved_updates_everything(browser: Any, reported: Any) -> None:
    opened = Opened(browser, reported.page, 1280)
    points = {p["name"]: p for p in json.loads(reported.bench.read_text())["ways"]}
    count = int(opened.page.get_attribute("#slider", "max")) + 1
    assert count == 3
    seen = []
    for place in range(count):
        opened.turn(place)
        point = points[opened.text("#shown-name")]
        assert opened.text("#shown-accuracy") == f"{100 * point['accuracy']:.2f} %"
        assert opened.text("#shown-mean") == f"{point['latency_ms']['mean']:#.3g} ms"
        assert opened.text("#shown-p99") == f"{point['latency_ms']['p99']:#.3g} ms"
        assert opened.text("#shown-energy").endswith(" mJ")
        assert opened.text("tr.here td:first-child") == point["name"]
        drawn = [opened.page.inner_html(f"#figure-{name}") for name in ("exit-shares", "class-shares", "time")]
        seen.append([opened.text("#shown-shares"), *drawn])
    for column in list(zip(*seen, strict=True)):
        assert len(set(column)) > 1
    assert opened.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_light_and_dark_is_readable(browser: Any, reported: Any, scheme: str) -> None:
    opened = Opened(browser, reported.page, 1280, scheme)
    assert opened.page.evaluate(CONTRAST) >= 4.5
