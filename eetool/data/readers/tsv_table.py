"""Tables of texts with labels: tabs between columns, the names of the columns in the first line, one text per line."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from eetool.data.class_names import composed, first_twice
from eetool.data.readers.error_reason import error_reason
from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.records import open_regular

TRAIN, VALIDATION, TEST = "train.tsv", "dev.tsv", "test.tsv"
_VALIDATION_NAMES = (VALIDATION, "val.tsv", "valid.tsv", "validation.tsv")
TABLE_HINT = (
    "A file of lines with tabs between columns is needed, the first line with their names: sentence (or text) and "
    f"label. Or a folder with {TRAIN} and {VALIDATION} or {TEST}."
)
_QUOTED_HINT = (
    "Texts with tabs or line breaks need quotes around every cell, those of the first line too: "
    "frame.to_csv(FILE, sep='\\t', index=False, quoting=csv.QUOTE_ALL) in pandas."
)
_LONGEST_CELL = 2**31 - 1  # the most that the module csv counts to on every machine
_TEXT_COLUMNS, _LABEL_COLUMN = ("sentence", "text"), "label"
_NO_LABEL = "-1"  # in the test sets of benchmarks that keep their labels to themselves
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.0+)?")


class LabelledText(NamedTuple):
    """A line of a table, with its number in the file."""

    text: str
    label: str
    line: int


Table = list[LabelledText]


def read_tables(place: Path, notes: list[str]) -> dict[Path, Table]:
    """Return the tables of a file, or of a folder in the order training, validation, test.

    In a folder, `dev.tsv` (or `val.tsv`, `valid.tsv`, `validation.tsv`) is the validation set, and `test.tsv` the test
    set. Where one is missing, or `test.tsv` has no labels, as in GLUE, the other is the test set.
    """
    if not place.is_dir():
        return {place: _read(place)}
    train, validation, test = place / TRAIN, _validation(place), place / TEST
    tables = {train: _read(train)}
    if validation.is_file() or not test.is_file():
        tables[validation] = _read(validation)
    if test.is_file():
        labelled = _read(test, may_lack_labels=validation.is_file())
        if all(row.label in (_NO_LABEL, "") for row in labelled):
            notes.append(f"{test.name} has no labels and is not used")
        else:
            tables[test] = labelled
    empty = next((path for path, rows in tables.items() if not rows), None)
    if empty is not None:
        raise ArtefactError(f"{empty}: holds no examples", "Leave it out, or fill it.")
    others = sorted(file.name for file in place.glob("*.tsv") if file not in (train, validation, test))
    if others:
        notes.append(f"warning: skipped, none of {TRAIN}, {VALIDATION} and {TEST}: {', '.join(map(quote, others))}")
    if len(tables) == 2 and validation in tables:
        notes.append(f"{validation.name} is the test set, because there is no labelled {test.name}")
    return tables


def _validation(folder: Path) -> Path:
    """Return the table of the validation set, which may be missing, in `folder`."""
    found = [folder / name for name in _VALIDATION_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        both = " and ".join(path.name for path in found)
        raise ArtefactError(f"{folder}: {both} are both the validation set", "Join them, or move one elsewhere.")
    return found[0] if found else folder / VALIDATION


def number_labels(tables: Mapping[Path, Table]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes, which are the labels of the first table, and labels int64 (n,) of all tables.

    Numbers are ordered by value, other labels as texts.

    Raises:
        ArtefactError: a label of another table is not in the first.
    """
    first, *_ = tables.values()
    are_numbers = all(_NUMBER.fullmatch(row.label) for row in first)
    names = {row.label: _number_name(row.label) if are_numbers else row.label for row in first}
    classes = tuple(sorted(set(names.values()), key=int if are_numbers else None))
    number_of = {name: number for number, name in enumerate(classes)}
    labels = []
    for path, table in tables.items():
        for row in table:
            is_number = are_numbers and _NUMBER.fullmatch(row.label)
            name = _number_name(row.label) if is_number else row.label
            if name not in number_of:
                known = ", ".join(quote(known) for known in classes[:8])
                raise ArtefactError(
                    f"{path}: the label {quote(row.label)} in line {row.line} is not in the training set",
                    f"Known labels are {known}{', …' if len(classes) > 8 else ''}.",
                )
            labels.append(number_of[name])
    return classes, np.array(labels, np.int64)


def odd_texts(tables: Mapping[Path, Table]) -> Iterator[str]:
    """Yield a line for each table with empty texts, or with texts that are also in the first one."""
    first, *others = tables.items()
    training = {row.text for row in first[1]}
    for path, table in tables.items():
        empty = [row.line for row in table if not row.text.strip()]
        if empty:
            yield f"warning: {path.name}: {len(empty)} of {len(table)} texts are empty, the first in line {empty[0]}"
    for path, table in others:
        copies = sum(row.text in training for row in table)
        if copies:
            yield f"warning: {path.name}: {copies} of {len(table)} texts are also in {first[0].name}"


def _number_name(label: str) -> str:
    return str(int(label.partition(".")[0]))


def _read(path: Path, may_lack_labels: bool = False) -> Table:
    try:
        with open_regular(path) as opened:
            # Spreadsheets store UTF-16 with its mark as "Unicode text", and UTF-8 with a mark.
            wide = opened.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")
            with io.TextIOWrapper(opened, encoding="utf-16" if wide else "utf-8-sig", newline="") as file:
                csv.field_size_limit(_LONGEST_CELL)  # long texts are cut at their first words anyway
                return list(_rows(file, path, may_lack_labels))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", TABLE_HINT) from None
    except (UnicodeError, csv.Error) as error:
        raise ArtefactError(f"{path}: not a text file with tabs: {error_reason(error)}", TABLE_HINT) from None


def _rows(file: io.TextIOWrapper, path: Path, may_lack_labels: bool) -> Iterator[LabelledText]:
    """Yield every line but blank ones. Quotes are part of a text, unless the first line is quoted too."""
    head = file.readline()
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if head.startswith('"') else csv.QUOTE_NONE
    names = [name.strip().lower() for name in next(csv.reader([head], delimiter="\t", quoting=quoting), [])]
    text = next((names.index(name) for name in _TEXT_COLUMNS if name in names), None)
    if may_lack_labels and text is not None and _LABEL_COLUMN not in names:
        return
    if text is None or _LABEL_COLUMN not in names:
        raise ArtefactError(f"{path}: its first line names the columns {quote(', '.join(names))}", TABLE_HINT)
    label = names.index(_LABEL_COLUMN)
    twice = first_twice(name for name in names if name in (names[text], _LABEL_COLUMN))
    if twice is not None:
        raise ArtefactError(f"{path}: two columns are called {quote(twice)}", "Rename the one that is not meant.")
    lines = csv.reader(file, delimiter="\t", quoting=quoting, strict=True)
    for row in lines:
        number = lines.line_num + 1
        if not any(cell.strip() for cell in row):  # spreadsheets end with lines of tabs alone
            continue
        if len(row) != len(names):
            is_quoted = quoting == csv.QUOTE_NONE and any(cell.startswith('"') for cell in row)
            hint = _QUOTED_HINT if is_quoted else TABLE_HINT
            raise ArtefactError(f"{path}: line {number} has {len(row)} columns, not {len(names)}", hint)
        if not row[label].strip() and not may_lack_labels:
            raise ArtefactError(f"{path}: line {number} has no label", TABLE_HINT)
        yield LabelledText(row[text], composed(row[label].strip()), number)
