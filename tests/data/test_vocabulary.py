"""Vocabulary of texts: words of many scripts, texts that say nothing, and ids by the vocabulary of a model."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from eetool.data.source import Source
from eetool.data.splits import TRAIN, split_source
from eetool.data.vocabulary import add_vocabulary, build_vocabulary, check_vocabulary, use_model_vocabulary
from eetool.errors import ArtefactError, UsageError
from eetool.progress import Advance
from eetool_runtime.manifest import RUNS, UNICODE_17, Input, Text
from eetool_runtime.preprocess import START, UNKNOWN


class Notes:
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def note(self, line: str) -> None:
        self.lines.append(line)


def source_of(texts: list[str], labels: list[int] | None = None) -> Source:
    numbers = np.array(labels if labels is not None else [i % 2 for i in range(len(texts))], np.int64)
    source = Source("tsv:t", np.zeros((len(texts), 1), np.int64), numbers, ("no", "yes"), mirror=False)
    return add_vocabulary(source, texts)


def check_all(source: Source) -> list[str]:
    """Return the notes about all texts as training texts."""
    notes = Notes()
    check_vocabulary(source, np.arange(len(source.labels)), notes)
    return notes.lines


def test_build_vocabulary_words_are_ordered_by_frequency_then_code_points() -> None:
    assert build_vocabulary(["b a b", "c C a b é É", "once"]) == ("b", "a", "c", "é")


def test_build_vocabulary_unfit_words_are_left_out() -> None:
    assert build_vocabulary([f"a \x01 \x7f é \ud800 x\ty {'z' * 65}"] * 2) == ("a", "x", "y", "é")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["这部电影好看", "这部电影难看"], {*"这部电影好难看"}),
        (["映画はとても良い", "映画はとても悪い"], {*"映画はとても良悪い"}),
        (["หนังดี", "หนังแย่"], {"ห", "นั", "ง", "ดี", "แ", "ย่"}),
        (["फिल्म अच्छी है", "फिल्म बुरी है"], {"फिल्म", "अच्छी", "बुरी", "है"}),
        (["영화가 좋다", "영화가 나쁘다"], {"영화가", "좋다", "나쁘다"}),
    ],
    ids=["chinese", "japanese", "thai", "hindi", "korean"],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_add_vocabulary_of_any_script_tells_texts_apart(texts: list[str], words: set[str], form: str) -> None:
    source = source_of([unicodedata.normalize(form if i % 4 > 1 else "NFC", texts[i % 2]) for i in range(60)])
    assert {*source.vocabulary} == words
    assert len(np.unique(source.inputs, axis=0)) == 2, "one for each text, whatever its form"
    assert (source.inputs != UNKNOWN).all()
    assert check_all(source) == []


def test_check_vocabulary_empty_raises_usage_error() -> None:
    source = source_of([f"word{i} other{i}" for i in range(60)])
    with pytest.raises(UsageError) as caught:
        check_all(source)
    assert caught.value.message == (
        "tsv:t: the texts share too few words to learn from: of 60 training texts 60 have none of the 0 words of the "
        "vocabulary, 0 differ from texts of another class in unknown or cut words only"
    )
    assert caught.value.hint is not None


def test_check_vocabulary_of_signs_alone_raises_usage_error() -> None:
    source = source_of([f"sentencewithoutspaces{i} ." for i in range(60)])
    with pytest.raises(UsageError, match=r"60 training texts 0 have none of the 1 words.*, 60 differ from texts of an"):
        check_all(source)


@pytest.mark.parametrize(("silent", "is_refused"), [(30, False), (31, True)])
def test_check_vocabulary_refuses_from_half_of_the_texts_on(silent: int, is_refused: bool) -> None:
    texts = [f"w{i}" if i < silent else "good" if i % 2 else "bad" for i in range(60)]
    source = replace(source_of(texts), text_rule=Text(("good", "bad"), UNICODE_17))
    source = use_model_vocabulary(source, [Input("ids", "int64", ("batch", 2), text=source.text_rule)])
    if is_refused:
        with pytest.raises(UsageError, match="31 have none of the 2 words of the vocabulary"):
            check_all(source)
    else:
        assert check_all(source) == ["30 of 60 training texts have none of the 2 words of the vocabulary"]


def test_check_vocabulary_counts_what_a_model_does_not_see() -> None:
    long = "good " * 70
    texts = [*["good film", "bad film"] * 28, "", "good film", long + "bad", long + "good", "fine film", "dull film"]
    source = source_of(texts)
    source = replace(source, text_rule=Text(("good", "bad", "film"), UNICODE_17))
    source = use_model_vocabulary(source, [Input("ids", "int64", ("batch", 64), text=source.text_rule)])
    assert check_all(replace(source, labels=np.array([1, 0] * 28 + [0, 0, 1, 0, 1, 0]))) == [
        "1 of 62 training texts have none of the 3 words of the vocabulary",
        "4 of 62 training texts differ from texts of another class in unknown or cut words only",
        "29 of 62 training texts are also there with another label",
        "2 of 62 training texts have more than 63 words and are cut there",
    ]


def test_use_model_vocabulary_gives_ids_of_the_model() -> None:
    texts = ["don't stop" if i % 2 else "do stop" for i in range(60)]
    source = source_of(texts)
    older = Input("ids", "int64", ("batch", 6), text=Text(("stop", "don", "'", "t"), RUNS))
    assert use_model_vocabulary(source, [older]).inputs[:2].tolist() == [
        [START, UNKNOWN, 3, 0, 0, 0],
        [START, 4, 5, 6, 3, 0],
    ]
    own = Input("ids", "int64", ("batch", 3), text=source.text_rule)
    assert use_model_vocabulary(source, [own]) is source


def test_use_model_vocabulary_of_a_model_without_one_raises_artefact_error() -> None:
    source = source_of(["a b", "a c"] * 30)
    with pytest.raises(ArtefactError, match="the model has no vocabulary for the texts of tsv:t"):
        use_model_vocabulary(source, [Input("ids", "int64", ("batch", 3))])


def test_add_vocabulary_is_that_of_the_training_split() -> None:
    texts = [f"text {'good' if i % 2 else 'bad'}" for i in range(60)]
    held_out = next(i for i in range(60) if i not in split_source(source_of(texts))[TRAIN])
    assert source_of([t + " late late" * (i == held_out) for i, t in enumerate(texts)]).vocabulary == (
        "text",
        *source_of(texts).vocabulary[1:],
    )
