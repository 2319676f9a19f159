"""Markup in the strings of a document stays text: in elements, attributes, data for scripts, charts and their files."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
EVIL = """"'><img src=x onerror="window.evil=1"></script><script>window.evil=1</script></title><!--"""
HARMLESS = "harmless"


class Structure(HTMLParser):
    """Every element with its attributes; values that hold `words` count as empty."""

    def __init__(self, text: str, words: str) -> None:
        super().__init__()
        self.elements: list[object] = []
        self.texts: list[str] = []
        self._words = words
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = [(name, "" if self._words in (value or "") else value) for name, value in attrs]
        self.elements.append((tag, values))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(tag)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", data))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("alone", [False, True], ids=["documents", "bundle"])
def test_page_with_markup_in_every_string_has_no_other_elements(marked_page: Any, alone: bool) -> None:
    evil = Structure(marked_page(EVIL, bundle=alone).read_text(), EVIL)
    harmless = Structure(marked_page(HARMLESS, bundle=alone).read_text(), HARMLESS)
    assert evil.elements == harmless.elements
    assert sum(EVIL in text for text in evil.texts) >= (1 if alone else 50)


def test_page_script_data_keeps_markup_unchanged(marked_page: Any) -> None:
    texts = Structure(marked_page(EVIL).read_text(), EVIL).texts
    (data,) = (text for text in texts if text.startswith('{"points"'))
    assert EVIL in json.loads(data)["points"][-1]["name"]


def test_page_with_markup_in_every_string_runs_no_script(browser: Any, marked_page: Any) -> None:
    page = browser.new_page()
    wrong: list[str] = []
    page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(marked_page(EVIL).as_uri())
    page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
    assert page.evaluate("window.evil") is None
    assert page.locator("img[src=x]").count() == 0
    assert any(EVIL[:4] in text for text in page.locator(".chart svg text").all_text_contents())
    assert {text for text in wrong if "ERR_INVALID_URL" not in text} == set()  # `words` are not addresses of pictures


def test_page_with_injected_script_runs_only_its_own(browser: Any, reported: Any, tmp_path: Path) -> None:
    injected = """<img src=x onerror="window.evil=1"><script>window.evil=1</script>"""
    path = tmp_path / "report.html"
    path.write_text(reported.page.read_text().replace("<main>", f"<main>{injected}"))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
    assert page.locator("img[src=x]").count() == 1
    assert page.evaluate("window.evil") is None


def test_page_control_characters_are_shown_as_escapes(cli: Any, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    document = json.loads((GOLDEN / "bench-1.json").read_text())
    names = ["a\x1b]0;b", "c\x00d", "e\ud800f", "g\u202eh", "i\uffffj"]
    for point, name in zip(document["points"], names, strict=False):
        point["name"] = name
    (tmp_path / "bench.json").write_text(json.dumps(document))
    page, folder = tmp_path / "r.html", tmp_path / "figures"
    answered = cli("report", tmp_path / "bench.json", "-o", page, "--figures", folder)
    assert answered.code == 0, answered
    shown = page.read_text()
    assert re.findall("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202e]", shown.partition("<script")[0]) == []
    assert "a\\x1b]0;b" in shown
    assert "c\\x00d" in shown
    assert "e\\ud800f" in shown
    for path in folder.glob("*.svg"):
        ET.parse(path)
