"""Texts with labels, one per line, as in SST-2 (Socher et al., 2013): `tsv:FILE` or `tsv:DIR`."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eetool.data.readers.error_reason import error_reason
from eetool.data.source import Source
from eetool.data.vocabulary import add_vocabulary
from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.records import open_regular

_TEXT_COLUMNS, _LABEL_COLUMN = ("sentence", "text"), "label"
# As in GLUE, whose test.tsv has no labels.
_TRAIN, _TESTS = "train.tsv", ("dev.tsv", "test.tsv")
_HINT = (
    "A file of lines with tabs between columns is needed, the first line with their names: sentence (or text) and "
    f"label. Or a folder with {_TRAIN} and {_TESTS[0]} or {_TESTS[1]}."
)


def read_tsv_texts(place: Path) -> Source:
    """Read texts as token ids of equal length (see `eetool.data.vocabulary`); labels are numbers or names.

    In a folder, `train.tsv` is for training, and `dev.tsv`, or else `test.tsv`, is the official test set.
    """
    files = [place]
    if place.is_dir():
        test = next((place / name for name in _TESTS if (place / name).is_file()), place / _TESTS[0])
        files = [place / _TRAIN, test]
    parts = [list(_rows(file)) for file in files]
    texts = [text for part in parts for text, _ in part]
    classes, labels = _labels([label for part in parts for _, label in part])
    name = f"tsv:{place.resolve().name}"
    official = len(parts[1]) if len(parts) > 1 else 0
    source = Source(name, np.zeros((len(texts), 1), np.int64), labels, classes, mirror=False, official_test=official)
    return add_vocabulary(source, texts)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield text and label of every line."""
    try:
        with open_regular(path) as opened, io.TextIOWrapper(opened, encoding="utf-8", newline="") as file:
            lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = next(lines, [])
            text = next((names.index(name) for name in _TEXT_COLUMNS if name in names), None)
            if text is None or _LABEL_COLUMN not in names:
                raise ArtefactError(f"{path}: its first line names the columns {quote(', '.join(names))}", _HINT)
            label = names.index(_LABEL_COLUMN)
            for row in lines:
                if len(row) != len(names):
                    raise ArtefactError(
                        f"{path}: line {lines.line_num} has {len(row)} columns, not {len(names)}", _HINT
                    )
                yield row[text], row[label].strip()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", _HINT) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArtefactError(f"{path}: not a text file with tabs: {error_reason(error)}", _HINT) from None


def _labels(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the classes, and labels int64 (n,). If all labels are numbers, these are kept."""
    if texts and all(text.isdecimal() and len(text) <= 4 for text in texts):
        numbers = np.array([int(text) for text in texts], np.int64)
        return tuple(str(i) for i in range(int(numbers.max()) + 1)), numbers
    names = tuple(sorted(set(texts)))
    numbers_of = {name: number for number, name in enumerate(names)}
    return names, np.array([numbers_of[text] for text in texts], np.int64)
