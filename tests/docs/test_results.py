"""docs/results: the tables of the pages are those of the data files, and every page is in the index."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.scripts import load_script

PAGES = Path(__file__).parents[2] / "docs/results"
PARTS = ("Question", "Setup", "Result", "Reading", "Limits")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("tools/write_results.py")


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_results_page_tables_equal_data(tool: ModuleType, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tool.updated(text) == text, "run python tools/write_results.py"


def test_results_data_every_table_is_on_one_page(tool: ModuleType) -> None:
    shown = [name for page in PAGES.glob("*.md") for name in tool.marked_tables(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(tool.table_names())


def test_results_data_every_file_names_its_source() -> None:
    for file in (PAGES / "data").glob("*.json"):
        assert json.loads(file.read_text(encoding="utf-8"))["source"], file


def test_results_index_links_every_page_and_every_goal_has_a_page() -> None:
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES.glob("*.md")} - {"index.md"}
    linked = set(re.findall(r"\]\(([\w-]+\.md)(?:#[\w-]+)?\)", index))
    assert linked == pages
    goals = json.loads((PAGES / "data/goals.json").read_text(encoding="utf-8"))["tables"]["goals"]
    titles = [column["title"] for column in goals["columns"]]
    assert titles == ["claim", "goal", "result", "met", "page", "command"]
    for row in goals["rows"]:
        cells = dict(zip(titles, row["cells"], strict=True))
        assert cells["met"] in ("yes", "no", "partly", "–"), cells
        assert re.fullmatch(r"\[[\w -]+\]\([\w-]+\.md(#[\w-]+)?\)", cells["page"]), cells


@pytest.mark.parametrize(
    "page", sorted(set(PAGES.glob("*.md")) - {PAGES / "index.md", PAGES / "history.md"}), ids=lambda page: page.stem
)
def test_results_page_has_every_part(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [part for part in PARTS if f"## {part}" not in text] == []


def test_write_results_number_keeps_digits_and_signs(tool: ModuleType, tmp_path: Path) -> None:
    columns = [{"title": "a", "kind": "number"}, {"title": "b", "kind": "percent", "signed": True}]
    columns += [{"title": "c", "kind": "interval"}, {"title": "d", "kind": "shares"}]
    row = '{"cells": [2.80, 1.5, [0.10, -0.03, 0.23], [76, 24]], "bold": [0]}'
    table = f'{{"columns": {json.dumps(columns)}, "rows": [{row}]}}'
    (tmp_path / "x.json").write_text(f'{{"source": "made up", "tables": {{"t": {table}}}}}')
    tool.DATA, kept = tmp_path, tool.DATA
    try:
        line = tool.table_text("x", "t").splitlines()[-1]
    finally:
        tool.DATA = kept
    assert line == "| **2.80** | +1.5 % | 0.10 (−0.03 to 0.23) | 76/24 |"


def test_board_tables_equal_raw_document(tool: ModuleType) -> None:
    raw = json.loads((PAGES / "data/raw/boards.json").read_text(encoding="utf-8"))
    tables = tool.read_data("board-tables")["tables"]
    for row, figures in zip(tables["files"]["rows"], raw["from_files"], strict=True):
        median, within, inside = (None if cell is None else float(cell) for cell in row["cells"][1:])
        assert median == round(100 * figures["median_error"], 1)
        assert within == round(100 * figures["within_10"])
        assert inside == (round(100 * figures["inside_interval"]) if "inside_interval" in figures else None)
    for row, figures in zip(tables["fits"]["rows"], raw["results"], strict=True):
        cells = [float(cell) for cell in row["cells"][1:5]]
        shares = [figures[part]["within_10"] for part in ("on_all", "on_untouched")]
        assert cells == [figures["cells"], *(round(100 * share, 1) for share in (*shares, figures["within_10"]))]
        assert figures["met"]


def test_docs_named_scripts_exist() -> None:
    root = PAGES.parents[1]
    pages = [*(root / "docs").rglob("*.md"), root / "benchmarks/README.md", root / "CONTRIBUTING.md"]
    named = {name for page in pages for name in re.findall(r"(?:benchmarks|tools)/[\w/]+\.py", page.read_text("utf-8"))}
    assert named
    assert sorted(name for name in named if not (root / name).is_file()) == []


def test_benchmarks_readme_lists_every_script() -> None:
    folder = PAGES.parents[1] / "benchmarks"
    listed = set(re.findall(r"^\| `([\w/]+\.py)`", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    scripts = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if "def main(" in path.read_text()}
    assert listed == scripts
