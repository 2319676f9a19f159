"""Writer of the tables in docs/results/*.md from the JSON files in docs/results/data.

    python tools/write_results.py

A page holds `<!-- results: FILE.TABLE -->` … `<!-- end -->`; the lines between them are replaced. In a data file a
column has a `title` and a `kind`, and a row has `cells` and optionally the indices of `bold` ones. Numbers keep their
digits: 2.80 is written as 2.80.
"""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parents[1] / "docs/results"
DATA = PAGES / "data"
_MARKED = re.compile(r"(<!-- results: ([\w-]+)\.([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SEPARATORS = {"shares": "/", "list/": " / ", "list,": ", "}


def read_data(name: str) -> dict[str, Any]:
    """Load a data file; numbers become `Decimal`, so that they keep their digits."""
    text = (DATA / f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return document


def table_names() -> list[str]:
    """Return FILE.TABLE of every table in the data files."""
    files = sorted(DATA.glob("*.json"))
    return [f"{file.stem}.{table}" for file in files for table in read_data(file.stem)["tables"]]


def table_text(name: str, table: str) -> str:
    """Return a table of a data file as Markdown."""
    content = read_data(name)["tables"][table]
    columns = content["columns"]
    lines = [[column["title"] for column in columns], ["---"] * len(columns)]
    for row in content["rows"]:
        cells = [_cell_text(column, cell) for column, cell in zip(columns, row["cells"], strict=True)]
        for index in row.get("bold", ()):
            cells[int(index)] = f"**{cells[int(index)]}**"
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def updated(page: str) -> str:
    """Return the text of a page with every marked table written anew."""
    return _MARKED.sub(lambda match: match[1] + table_text(match[2], match[3]) + match[4], page)


def marked_tables(page: str) -> list[str]:
    """Return FILE.TABLE of every marked table of a page."""
    return [f"{match[2]}.{match[3]}" for match in _MARKED.finditer(page)]


def _cell_text(column: dict[str, Any], cell: Any) -> str:
    kind = column["kind"]
    if cell is None:
        return str(column.get("missing", ""))
    if kind == "text":
        return str(cell)
    if kind in ("number", "percent"):
        sign = "+" if column.get("signed") and cell > 0 else ""
        return sign + _number(cell) + (" %" if kind == "percent" else "")
    if kind == "interval":  # [value, low, high], or a value without an interval
        if isinstance(cell, Decimal):
            return _number(cell)
        value, low, high = map(_number, cell)
        return f"{value} ({low} to {high})"
    if kind == "macs_points":  # accuracy in percent and MACs in millions of each point
        return ", ".join(f"{_number(accuracy)} % at {_number(macs)} M" for accuracy, macs in cell)
    return _SEPARATORS[kind].join(map(_number, cell))


def _number(value: Decimal) -> str:
    return f"{value:f}".replace("-", "−")


def main() -> int:
    """Write the tables of all pages."""
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        new = updated(text)
        if new != text:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
