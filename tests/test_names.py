"""Names and texts that a bundle can hold."""

from eetool.names import MAX_VOCABULARY_BYTES, find_unfit, quote, select_words, word_bytes
from eetool_runtime.manifest_checks import is_text

BAD = ["", "x" * 257, "\x1b[2J", "a\nb", "\x7f", "\x85"]


def test_select_words_too_many_words_keeps_the_first_that_fit() -> None:
    words = [f"{i:0200d}" for i in range(8_000)]
    kept = select_words(words)
    assert list(kept) == words[: len(kept)]
    assert sum(map(word_bytes, kept)) <= MAX_VOCABULARY_BYTES < sum(map(word_bytes, words[: len(kept) + 1]))


def test_find_unfit_unfit_name_is_described() -> None:
    assert find_unfit(["cat", "Käse 1"], ["input", "a.b-c_1"]) is None
    assert "'a\\x1b' is no label" in str(find_unfit(["a\x1b"], []))
    assert "'my input' is no name" in str(find_unfit([], ["my input"]))


def test_is_text_control_characters_are_rejected() -> None:
    assert all(map(is_text, ("a", "é", "猫", " ", "x" * 256)))
    assert not any(map(is_text, (*BAD, "\ud800")))


def test_quote_control_characters_and_long_names_are_escaped_and_cut() -> None:
    assert quote("a\x1bb") == "'a\\x1bb'"
    assert quote("x" * 61) == f"'{'x' * 60}'… (61 characters)"
