"""Conversion of texts to token ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime.errors import InputError
from eetool_runtime.manifest import Input, Text
from eetool_runtime.preprocess import PADDING, START, UNKNOWN, preprocess, split_words, token_ids

VOCABULARY = ("the", "film", "'", "s", "fine", ".")
SPEC = Input("input_ids", "int64", ("batch", 8), text=Text(VOCABULARY))


def test_split_words_separates_words_and_signs() -> None:
    assert split_words("The  film's FINE-ish, 10/10…") == [
        *("the", "film", "'", "s", "fine", "-", "ish", ",", "10", "/", "10", "…"),
    ]
    assert split_words("Ünïcode mögen_wir 漢字!") == ["ünïcode", "mögen_wir", "漢字", "!"]
    assert split_words(" \t\n") == []


def test_preprocess_text_becomes_ids_of_input_length() -> None:
    actual = preprocess("The film's a fine", SPEC)
    assert actual.dtype == np.int64
    assert actual.tolist() == [[START, 3, 4, 5, 6, UNKNOWN, 7, PADDING]]


def test_token_ids_long_text_is_truncated() -> None:
    assert token_ids(["fine " * 50], VOCABULARY, 4).tolist() == [[START, 7, 7, 7]]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_token_ids_any_text_are_in_vocabulary(texts: list[str]) -> None:
    ids = token_ids(texts, VOCABULARY, 6)
    assert ids.shape == (len(texts), 6)
    assert (ids[:, 0] == START).all()
    assert ids.min() >= 0
    assert ids.max() < len(VOCABULARY) + 3


def test_preprocess_ids_are_accepted() -> None:
    ids = np.array([[2, 3, 4, 0, 0, 0, 0, 0]], np.int64)
    np.testing.assert_array_equal(preprocess(ids, SPEC), ids)


def test_preprocess_text_without_vocabulary_raises_input_error() -> None:
    with pytest.raises(InputError, match="expected int64"):
        preprocess("fine", Input("input_ids", "int64", ("batch", 8)))
