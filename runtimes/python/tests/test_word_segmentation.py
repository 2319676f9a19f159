"""Splitting of texts into words: real sentences, odd characters, and the same words on every Python."""

from __future__ import annotations

import hashlib
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime import word_segmentation
from eetool_runtime.manifest import RUNS, UNICODE_17
from eetool_runtime.word_segmentation import split_words
from tests.helpers.sentences import SENTENCES


def list_of(words: str) -> list[str]:
    return words.split(" ")


@pytest.mark.parametrize("language", list(SENTENCES))
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_split_words_sentence_gives_words_of_language(language: str, form: str) -> None:
    text, expected = SENTENCES[language]
    assert split_words(unicodedata.normalize(form, text), UNICODE_17) == list_of(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n\x00\x85\u2028\u200b\xa0\u3000", []),
        ("co\u00adop\u00aderate", ["cooperate"]),
        ("\ufeffwo\ufeffrd \u200fabc\u200e zero\u2060width", ["word", "abc", "zerowidth"]),
        ("a\u200bb\x01c\ud800d", ["a", "b", "c", "\ud800", "d"]),
        ("\u0301\u200d \u0301 a\u0301 \u200d👩", ["á", "👩"]),
        ("Ｈｅｌｌｏ Hello ² ﬁn", ["ｈｅｌｌｏ", "hello", "²", "fin"]),
        ("10\u202f000 \u202fmot\u202f", ["10\u202f000", "mot"]),
        (
            "film_noir __a__ x:y 1:2 a.b c. .5 1.a",
            ["film_noir", "__a__", *list_of("x:y 1 : 2 a.b c . . 5 1 . a")],
        ),
        ("é:e 1;2 ب'x א'", ["é:e", "1;2", "ب'x", "א'"]),
        ("א\"ב א\" א'1 א'_", ['א"ב', "א", '"', "א'", "1", "א'", "_"]),
        ("\U00010d50\U00010d70 É\U00010d50É", ["\U00010d50\U00010d70", "é\U00010d50é"]),  # letters of Unicode 16
    ],
    ids=ascii,
)
def test_split_words_odd_characters(text: str, words: list[str]) -> None:
    assert split_words(text, UNICODE_17) == words


def test_split_words_runs_keeps_the_rule_of_older_bundles() -> None:
    assert split_words("The  film's FINE-ish, 1.5…", RUNS) == [
        *["the", "film", "'", "s", "fine", "-", "ish", ",", "1", ".", "5", "…"]
    ]
    assert split_words("Ünïcode mögen_wir 漢字! cafe\u0301", RUNS) == list_of("ünïcode mögen_wir 漢字 ! cafe \u0301")
    assert split_words(" \t\n", RUNS) == []


@given(st.text(st.characters(max_codepoint=127)))
def test_split_words_ascii_text_is_split_alike_beside_other_characters(text: str) -> None:
    assert [*split_words(text, UNICODE_17), "漢"] == split_words(text + "漢", UNICODE_17)


@given(st.text())
def test_split_words_of_any_text_are_stable_and_without_blanks(text: str) -> None:
    words = split_words(text, UNICODE_17)
    assert all(words)
    assert not any((c.isspace() and c != "\u202f") or unicodedata.category(c) == "Cc" for word in words for c in word)
    again = [part for word in words for part in split_words(word, UNICODE_17)]
    assert again == words


def test_split_words_of_all_planes_are_the_same_on_every_python() -> None:
    source = random.Random(17)
    limits = (0x80, 0x800, 0x3000, 0x20000, 0x110000)
    digest = hashlib.sha256()
    for _ in range(4000):
        limit = source.choice(limits)
        text = "".join(chr(source.randrange(limit)) for _ in range(20))
        digest.update("\n".join(split_words(text, UNICODE_17)).encode("utf-8", "surrogatepass") + b"\n\n")
    assert digest.hexdigest() == "8babc27da2f27f5b9399803f58f5fc008f8c024bfaaaf545be8690c163ce4eea"


def test_split_words_many_characters_keep_few_classes_in_memory() -> None:
    for start in range(0, 0x8000, 0x1000):
        split_words("".join(map(chr, range(start, start + 0x1000))), UNICODE_17)
    assert len(word_segmentation._classes()) <= 4096
