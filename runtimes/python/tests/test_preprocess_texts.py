"""Conversion of texts to token ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime.errors import InputError
from eetool_runtime.manifest import UNICODE_17, Input, Text
from eetool_runtime.preprocess import PADDING, START, UNKNOWN, preprocess, token_ids

VOCABULARY = ("the", "film", "'", "s", "fine", ".")
RULE = Text(VOCABULARY)
SPEC = Input("input_ids", "int64", ("batch", 8), text=RULE)


def test_preprocess_text_becomes_ids_of_input_length() -> None:
    actual = preprocess("The film's a fine", SPEC)
    assert actual.dtype == np.int64
    assert actual.tolist() == [[START, 3, 4, 5, 6, UNKNOWN, 7, PADDING]]


def test_preprocess_text_is_split_by_the_rule_of_the_input() -> None:
    words = ("café", "film's", "好")
    spec = Input("input_ids", "int64", ("batch", 6), text=Text(words, UNICODE_17))
    for text in ("Café film’s 好好", "CAFE\u0301 FILM'S 好 好"):
        assert preprocess(text, spec).tolist() == [[START, 3, 4, 5, 5, PADDING]]
    older = Input("input_ids", "int64", ("batch", 6), text=Text(words))
    assert preprocess("Café film's 好好", older).tolist() == [[START, 3, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]]


def test_token_ids_two_vocabularies_in_turn_keep_their_ids() -> None:
    for _ in range(2):
        assert token_ids(["fine"], RULE, 2).tolist() == [[START, 7]]
        assert token_ids(["fine"], Text(("fine",)), 2).tolist() == [[START, 3]]


def test_token_ids_long_text_is_truncated() -> None:
    assert token_ids(["fine " * 50], RULE, 4).tolist() == [[START, 7, 7, 7]]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_token_ids_any_text_are_in_vocabulary(texts: list[str]) -> None:
    ids = token_ids(texts, RULE, 6)
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
