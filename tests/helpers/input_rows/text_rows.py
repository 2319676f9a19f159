"""Rows of `tsv:` tables."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from eetool.data.source import Source
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

HEAD = "sentence\tlabel"
_N = 120


def _rows(labels: Iterable[str]) -> list[str]:
    kinds = list(labels)
    return [f"a film of kind {kinds[i % len(kinds)]} no {i}\t{kinds[i % len(kinds)]}" for i in range(_N)]


def _show(source: Source) -> Any:
    """Return the classes, the names of the first four labels, and the sizes of the sets."""
    names = [source.classes[label] for label in source.labels[:4]]
    return source.classes, names, (source.training_count, source.official_validation, source.official_test)


def table(content: str | bytes) -> Callable[[Path], Any]:
    """Return the reading of one table."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        data = content.encode() if isinstance(content, str) else content
        (folder / "t.tsv").write_bytes(data)
        return read_source(f"tsv:{folder / 't.tsv'}", _show)

    return read


def tables(**contents: str) -> Callable[[Path], Any]:
    """Return the reading of a folder of tables, by their names without the suffix."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        for name, content in contents.items():
            (folder / f"{name}.tsv").write_text(content, encoding="utf-8")
        return read_source(f"tsv:{folder}", _show)

    return read


def text(labels: Iterable[str], head: str = HEAD, end: str = "\n") -> str:
    """Return a table whose texts have these labels in turn."""
    return end.join([head, *_rows(labels), ""])


def _given(*labels: str) -> tuple[Any, ...]:
    return tuple(sorted(set(labels))), [labels[i % len(labels)] for i in range(4)], (_N, 0, 0)


PLAIN = text("01")

ROWS = (
    InputRow(
        "labels that are numbers: from 0, from 1, 0 and 4",
        ACCEPTED,
        "classes of these names, by value",
        table(text(["4", "0"])),
        _given("4", "0"),
    ),
    InputRow(
        "labels such as -1, 1.0 and 01, where all are whole numbers",
        CONVERTED,
        "the number without zeros",
        table(text(["-1", "1.0"])),
        (("-1", "1"), ["-1", "1", "-1", "1"], (_N, 0, 0)),
    ),
    InputRow(
        "labels that are words",
        ACCEPTED,
        "classes of these names, in alphabetical order",
        table(text(["pos", "neg"])),
        _given("pos", "neg"),
    ),
    InputRow(
        "the columns `text` and `label`, in any order and case, among others",
        ACCEPTED,
        "the others are left out",
        table("\n".join(["ID\tLabel\tText", *(f"{i}\t{i % 2}\ta film no {i}" for i in range(_N))])),
        _given("0", "1"),
    ),
    InputRow(
        "a byte order mark, UTF-16 with one, CRLF, blank lines, also of tabs",
        CONVERTED,
        "left out",
        table(b"\xff\xfe" + text("01", end="\r\n \r\n\t\r\n").encode("utf-16-le")),
        _given("0", "1"),
    ),
    InputRow(
        "quotes",
        ACCEPTED,
        "part of the text, as in SST-2, unless the first line is quoted",
        table('"sentence"\t"label"\n' + "".join(f'"a ""film"" no\t{i}"\t"{i % 2}"\n' for i in range(_N))),
        _given("0", "1"),
    ),
    InputRow(
        "`train.tsv`, `dev.tsv` (or `val`, `valid`, `validation`) and `test.tsv` with labels",
        ACCEPTED,
        "as `train`, `val` and `test` of a folder",
        tables(train=PLAIN, valid=text("10"), test=text("0")),
        (("0", "1"), ["0", "1", "0", "1"], (_N, _N, _N)),
        "warning: test.tsv: 60 of 120 texts are also in train.tsv",
    ),
    InputRow(
        "`dev.tsv` and `val.tsv`",
        REFUSED,
        "which one is meant is not known",
        tables(train=PLAIN, dev=text("10"), val=text("10")),
        "dev.tsv and val.tsv are both the validation set",
    ),
    InputRow(
        "other `.tsv` files in the folder",
        CONVERTED,
        "skipped with a warning",
        tables(train=PLAIN, dev=text("10"), extra=text("0")),
        (("0", "1"), ["0", "1", "0", "1"], (_N, 0, _N)),
        "warning: skipped, none of train.tsv, dev.tsv and test.tsv: 'extra.tsv'",
    ),
    InputRow(
        "`test.tsv` without labels, or with -1 or nothing in every line, beside `dev.tsv`",
        CONVERTED,
        "left out; `dev.tsv` is the test set",
        tables(train=PLAIN, dev=text("10"), test="sentence\tlabel\na film\t\nno film\t\n"),
        (("0", "1"), ["0", "1", "0", "1"], (_N, 0, _N)),
        "test.tsv has no labels and is not used",
    ),
    InputRow(
        "a label in `dev.tsv` or `test.tsv` alone",
        REFUSED,
        "it cannot be learned",
        tables(train=PLAIN, dev=text("02")),
        "dev.tsv: the label '2' in line 3 is not in the training set",
    ),
    InputRow(
        "a line without a label, or with more or fewer columns",
        REFUSED,
        "the number of the line is said",
        table(PLAIN + "a film\t\n"),
        "t.tsv: line 122 has no label",
    ),
    InputRow(
        "a text with tabs or line breaks in quotes, where the first line has no quotes",
        REFUSED,
        "quotes are letters there; the hint says how to write the table",
        table(PLAIN + '"a\tfilm"\t1\n'),
        "t.tsv: line 122 has 3 columns, not 2",
    ),
    InputRow(
        "a first line without the names of the columns",
        REFUSED,
        "which column is which is not known",
        table(PLAIN.partition("\n")[2]),
        "t.tsv: its first line names the columns",
    ),
    InputRow(
        "another encoding than UTF-8 or UTF-16",
        REFUSED,
        "its letters are not known",
        table(PLAIN.encode() + "ein schöner Film\t1\n".encode("latin-1")),
        "t.tsv: not a text file with tabs",
    ),
    InputRow(
        "one class only",
        REFUSED,
        "there is nothing to tell apart",
        table(text("0")),
        "all 120 examples are of one class, '0'",
    ),
)
