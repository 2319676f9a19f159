"""Text to token ids, in the one way that a bundle describes: no library, so that a device needs none."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

PADDING, UNKNOWN, START = 0, 1, 2
SPECIAL = 3  # ids before that of the first word

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Lower-case words: runs of letters, digits and underscores; every other sign is a word of its own."""
    return _WORD.findall(text.lower())


def token_ids(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> np.ndarray:
    """int64 (n, length): the start, the words (id = place in `vocabulary` + 3, 1 where it is unknown), then padding.

    What does not fit is cut off.
    """
    known = {word: index + SPECIAL for index, word in enumerate(vocabulary)}
    ids = np.full((len(texts), length), PADDING, np.int64)
    ids[:, 0] = START
    for row, text in zip(ids, texts):
        found = [known.get(word, UNKNOWN) for word in words_of(text)[: length - 1]]
        row[1 : 1 + len(found)] = found
    return ids
