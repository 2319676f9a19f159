"""Splitting of texts into words, by the two rules that a manifest can name.

`runs` is the rule of bundles without the field `segmentation`. `unicode-17` follows the default word boundaries of
Unicode (UAX #29, version 17.0). It gives the same words on every Python from 3.9 on: classes of characters are our own
table, and only characters of Unicode 13.0 are folded and normalised, for which later versions change nothing.
"""

from __future__ import annotations

import binascii
import re
import zlib
from array import array
from bisect import bisect_right
from functools import cache
from unicodedata import normalize

from .manifest import RUNS
from .word_break_table import PACKED

_RUNS = re.compile(r"\w+|[^\w\s]")
# Words of ASCII texts in lower case. The rest of this module gives the same ones, at four times the cost.
_ASCII = re.compile(r"(?:[a-z]+(?:[:.'][a-z]+)*|[0-9]+(?:[.,;'][0-9]+)*|_+)+|[!-~]")

# A class per character, see word_break_table: A letter, B letter and pictograph, H Hebrew letter, N number, K Katakana,
# U connector, Q single and D double quote, M L C signs inside words and numbers, R regional indicator, E mark, Z
# zero-width joiner, F format character, P pictograph, W space, S line end, T other blank or control, O any other.
_MARKS = "[EFZ]*"  # WB4
_NEWER = re.compile("[a-z]+")  # characters after Unicode 13.0
_CURLY = "\u2019"  # the apostrophe of telephones and typesetters; keyboards give the straight one
_NARROW_SPACE = "\u202f"  # a connector inside numbers, and blank at the ends of words
_MOST_KEPT = 4096  # classes of characters; no language has more


def split_words(text: str, segmentation: str) -> list[str]:
    """Return the words of a text without regard to case, and every other sign by itself.

    Args:
        text: any text.
        segmentation: the rule, `runs` or `unicode-17`.
    """
    if segmentation == RUNS:
        return _RUNS.findall(text.lower())
    if text.isascii():
        return _ASCII.findall(text.lower())
    folded = _fold(text)
    kinds = folded.translate(_classes()).upper()
    matches = _word_pattern("H" in kinds).finditer(kinds)
    words = [folded[start:end] for start, end in (match.span() for match in matches)]
    if _NARROW_SPACE in folded:
        words = [word for word in (word.strip(_NARROW_SPACE) for word in words) if word]
    return words


def _fold(text: str) -> str:
    """Return `text` without format characters, composed (NFC) and case folded, but for characters after Unicode 13."""
    kinds = text.translate(_classes())
    if "F" in kinds or "f" in kinds:
        text = "".join(character for character, kind in zip(text, kinds) if kind not in "Ff")
        kinds = text.translate(_classes())
    if kinds.isupper():
        return _fold_known(text)
    ends = [0, *(end for match in _NEWER.finditer(kinds) for end in match.span()), len(text)]
    parts = [text[start:end] for start, end in zip(ends, ends[1:])]  # known and newer characters, in alternation
    return "".join(part if index % 2 else _fold_known(part) for index, part in enumerate(parts))


def _fold_known(text: str) -> str:
    return normalize("NFC", normalize("NFC", text).casefold()).replace(_CURLY, "'")


@cache
def _word_pattern(with_hebrew: bool) -> re.Pattern[str]:
    """Return the expression of a word, over classes of characters; comments name the rules of UAX #29.

    A word begins with no blank and no mark, so that blanks and their marks are skipped. A repeated part ends where its
    last class ends, so that the time is linear.
    """

    def marked(classes: str) -> str:
        return f"{classes}{_MARKS}"

    letters = marked("[AB]+(?![AB])") + f"(?:{marked('[LMQ]')}(?=[ABH]))?"  # WB5, WB6, WB7, WB9
    numbers = marked("N+(?!N)") + f"(?:{marked('[CMQ]')}(?=N))?"  # WB8, WB10, WB11, WB12
    hebrew = marked("H") + f"(?:{marked('[LMQ]')}(?=[ABH])|{marked('D')}(?=H)|(?![EFZQ]))"  # WB7b, WB7c
    run = f"(?:{letters}|{numbers}|{hebrew})+" if with_hebrew else f"(?:{letters}|{numbers})+"
    katakana = f"(?:{marked('K+(?!K)')})+"  # WB13
    group, connectors = f"(?:{run}|{katakana})", f"(?:{marked('U')})+"
    joined = f"{group}(?:{connectors}{group})*(?:{connectors})?"  # WB13a, WB13b
    if with_hebrew:  # WB7a: a single quote ends the word
        quoted = f"(?:{run})?{marked('H')}{marked('Q')}(?![ABHEFZ])"
        joined = f"(?:(?:{group}{connectors})*{quoted}|{joined})"
    flag = f"{marked('R')}(?:{marked('R')})?"  # WB15, WB16
    piece = f"(?:{joined}|{connectors}(?:{joined})?|{flag}|{marked('[^EFZWST]')})"  # WB3a, WB3b, WB999
    return re.compile(f"{piece}(?:(?<=Z)(?=[BP]){piece})*")  # WB3c


class _Classes(dict):  # type: ignore[type-arg]
    """Class of every code point for `str.translate`, looked up once each."""

    def __init__(self) -> None:
        self._letters, lengths = zlib.decompress(binascii.a2b_base64(PACKED)).decode("ascii").split("\n")
        self._ends, end = array("I"), 0
        for length in lengths.split():
            end += int(length, 16)
            self._ends.append(end)

    def __missing__(self, code: int) -> str:
        if len(self) >= _MOST_KEPT:
            self.clear()
        letter = self[code] = self._letters[bisect_right(self._ends, code)]
        return letter


@cache
def _classes() -> _Classes:
    return _Classes()
