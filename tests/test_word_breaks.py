"""Words of the runtime against those of the package regex, which finds the boundaries of UAX #29 in its own way."""

import binascii
import itertools
import zlib
from unicodedata import normalize

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool_runtime.manifest import UNICODE_17
from eetool_runtime.word_break_table import PACKED
from eetool_runtime.word_segmentation import split_words
from tests.helpers.scripts import load_script
from tests.helpers.sentences import SENTENCES
from tests.platforms.pythons import find_python

BOUNDARY = regex.compile(r"\b", regex.WORD | regex.VERSION1)
FORMAT = regex.compile(r"\p{Word_Break=Format}")
BLANKS = regex.compile(r"[\p{Cc}[\p{Zs}--\u202f]\p{Zl}\p{Zp}\u200b\p{WB=Extend}\p{WB=ZWJ}]*", regex.VERSION1)
# One character at least of every class, those that folding changes, and some of Unicode 14 to 17.
SIGNS = (
    "aBⓜℹא1١アカ_'’\".·:,;🇩🇪\u0301\u200d\u00ad👩🏽 \n\r\t\u2028漢กั\u200c\u202f\u0600\u3000ÉßΣς\u200b"
    "\U0001e030\U00010d50"
)


def table_classes() -> str:
    letters, lengths = zlib.decompress(binascii.a2b_base64(PACKED)).decode().split("\n")
    return "".join(letter * int(length, 16) for letter, length in zip(letters, lengths.split(), strict=True))


CLASSES = table_classes()


def is_known(character: str) -> bool:
    """Return whether Unicode 13.0 has the character."""
    return CLASSES[ord(character)].isupper()


def library_words(text: str) -> list[str]:
    folded = ""
    for known, characters in itertools.groupby(FORMAT.sub("", text), is_known):
        part = "".join(characters)
        folded += normalize("NFC", normalize("NFC", part).casefold()) if known else part
    parts = (BLANKS.sub("", part, count=1).strip("\u202f") for part in BOUNDARY.split(folded.replace("’", "'")))
    return [part for part in parts if part]


def test_word_break_table_is_what_the_tool_writes() -> None:
    tool, oldest = load_script("tools/write_word_breaks.py"), find_python("3.9")
    assert regex.match(r"\p{Lo}", "\U00011db0"), "a letter of Unicode 17.0, which this release of regex has to know"
    # Without a Python that knows Unicode 13.0 and nothing later, the classes alone are compared.
    known = tool.oldest_characters(str(oldest)) if oldest else "".join("01"[letter.isupper()] for letter in CLASSES)
    written = tool.module_text(tool.packed_table(known))
    assert tool.TABLE.read_text(encoding="utf-8") == written, "run tools/write_word_breaks.py"
    assert tool.TABLE.stat().st_size < 5000


@settings(max_examples=600)
@given(st.text(st.sampled_from(SIGNS) | st.characters(exclude_categories=())))
def test_split_words_any_text_is_split_as_by_library(text: str) -> None:
    assert split_words(text, UNICODE_17) == library_words(text)


def test_split_words_any_two_signs_are_split_as_by_library() -> None:
    for signs in itertools.product(SIGNS, repeat=2):
        text = "".join(signs) + "אa"
        assert split_words(text, UNICODE_17) == library_words(text), ascii(text)


@pytest.mark.parametrize("text", [text for text, _ in SENTENCES.values()], ids=list(SENTENCES))
def test_split_words_sentence_is_split_as_by_library(text: str) -> None:
    assert split_words(text, UNICODE_17) == library_words(text)
