"""Every row of the table of inputs (docs/inputs.md), made and read."""

from pathlib import Path

import pytest

from eetool.errors import ArtefactError, UsageError
from tests.helpers.input_rows import GROUPS
from tests.helpers.input_rows.row import REFUSED, InputRow
from tools import write_inputs_page

ROWS = [pytest.param(row, id=f"{title}-{row.given}"[:90]) for title, rows in GROUPS.items() for row in rows]


@pytest.mark.parametrize("row", ROWS)
def test_input_of_every_row_has_the_outcome_of_the_page(tmp_path: Path, row: InputRow) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    if row.outcome == REFUSED:
        with pytest.raises((ArtefactError, UsageError)) as caught:
            row.read(folder)
        assert row.expected in caught.value.message
        assert caught.value.hint, "it has to be said what to do"
        return
    result, said = row.read(folder)
    assert result == row.expected
    assert [line for line in said if row.said in line] if row.said else not said


def test_inputs_page_equals_the_rows() -> None:
    result = write_inputs_page.PAGE.read_text(encoding="utf-8")
    assert result == write_inputs_page.text(), "run python -m tools.write_inputs_page"
