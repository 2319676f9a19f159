"""Writer of docs/inputs.md, the table of what is accepted, converted and refused, from the rows that a test reads.

python -m tools.write_inputs_page
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.input_rows import GROUPS

PAGE = Path(__file__).parents[1] / "docs/inputs.md"
_HEAD = """# What is read, converted and refused

This page is written by `python -m tools.write_inputs_page` from rows that a test makes and reads, one by one.

*Accepted* is read as it is. *Converted* has one meaning, and is read in that meaning. *Refused* has more than one, or
none: the command ends with exit code 3, the reason and what to do. Whatever is left out is said on stderr, with the
number of files; `--quiet` silences it. The reasons are in
[decision 0034](decisions/0034-pixels-have-one-meaning-or-are-refused.md).
"""


def text() -> str:
    """Return the text of the page."""
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    for title, rows in GROUPS.items():
        yield f"\n## {title}\n\n| given | outcome | what comes of it |\n|---|---|---|\n"
        for row in rows:
            yield f"| {row.given} | {row.outcome} | {row.comes} |\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
