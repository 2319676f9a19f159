"""`tsv:FILE` or `tsv:DIR`: one text and its label per line, as in SST-2 (Socher et al., 2013).

The vocabulary is made of the training split alone, which follows from the labels; so the ids of all texts follow from
the files, and a model that was trained on them goes with them.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eetool.data.readers.error_reason import error_reason
from eetool.data.source import Source, validate_source
from eetool.data.splits import TRAIN, split_source
from eetool.errors import ArtefactError
from eetool.names import quote, select_words
from eetool.records import open_regular
from eetool_runtime.preprocess import SPECIAL, token_ids, words_of

MOST_WORDS = 8192 - SPECIAL
_LONGEST_WORD = 64  # characters
_LONGEST_TEXT = 64  # tokens
_TEXT_COLUMNS, _LABEL_COLUMN = ("sentence", "text"), "label"
# As in GLUE, whose test.tsv has no labels.
_TRAIN, _TESTS = "train.tsv", ("dev.tsv", "test.tsv")
_HINT = (
    "A file of lines with tabs between columns is needed, the first line with their names: sentence (or text) and "
    f"label. Or a folder with {_TRAIN} and {_TESTS[0]} or {_TESTS[1]}."
)


def read_tsv_texts(place: Path) -> Source:
    """Texts as token ids (see `eetool_runtime.preprocess`), of one length for all; labels are numbers or names.

    Of a folder, `train.tsv` is for training, and `dev.tsv`, or else `test.tsv`, is the official test set.
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
    training = [texts[i] for i in split_source(validate_source(source))[TRAIN]]
    vocabulary = build_vocabulary(training)
    longest = 1 + max(len(words_of(text)) for text in training)
    ids = token_ids(texts, vocabulary, min(longest, _LONGEST_TEXT))
    return Source(name, ids, labels, classes, mirror=False, official_test=official, vocabulary=vocabulary)


def build_vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the most frequent words that come at least twice, the most frequent first, equals by the alphabet.

    A word that no bundle can hold is an unknown one.
    """
    counts = Counter(word for text in texts for word in words_of(text) if len(word) <= _LONGEST_WORD)
    known = sorted((-count, word) for word, count in counts.items() if count > 1)
    return select_words(word for _, word in known)[:MOST_WORDS]


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Text and label of every line."""
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
    """Names of the classes, and int64 (n,). Labels that are all numbers keep them."""
    if texts and all(text.isdecimal() and len(text) <= 4 for text in texts):
        numbers = np.array([int(text) for text in texts], np.int64)
        return tuple(str(i) for i in range(int(numbers.max()) + 1)), numbers
    names = tuple(sorted(set(texts)))
    numbers_of = {name: number for number, name in enumerate(names)}
    return names, np.array([numbers_of[text] for text in texts], np.int64)
