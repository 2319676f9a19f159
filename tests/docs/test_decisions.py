"""docs/decisions: every page has its parts, in order, on one page."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs/decisions").glob("*.md"))
MAX_LINES = 60
_HEAD = re.compile(
    r"# (?P<number>\d{4}) \S.*\n\n- Status: (accepted|superseded)\b.*\n(?:  .*\n)*- Date: \d{4}-\d\d-\d\d"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem[:4])
def test_decision_page_has_every_part_in_order(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    assert head is not None, text[:200]
    assert head["number"] == page.name[:4]
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= MAX_LINES
