"""Texts from tables: token ids, vocabulary, labels and invalid files."""

from pathlib import Path

import numpy as np
import pytest

from eetool.data.registry import load_source
from eetool.data.splits import TRAIN, split_source
from eetool.errors import ArtefactError
from eetool_runtime.preprocess import START, UNKNOWN


def table(rows: list[tuple[str, str]], head: str = "sentence\tlabel") -> str:
    return "\n".join([head, *(f"{text}\t{label}" for text, label in rows)]) + "\n"


ROWS = [(f'a {"fine" if i % 2 else "dull"} film , the "{i}th', str(i % 2)) for i in range(60)]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.tsv"
    path.write_text(table(ROWS), encoding="utf-8")
    return path


def test_read_tsv_texts_file_gives_ids_of_training_words(reviews: Path) -> None:
    source = load_source(f"tsv:{reviews}")
    assert (source.name, source.classes, source.official_test) == ("tsv:reviews.tsv", ("0", "1"), 0)
    assert source.inputs.dtype == np.int64
    assert np.array_equal(source.labels, np.arange(60) % 2)
    assert set(source.vocabulary) == {"a", "fine", "dull", "film", ",", "the", '"'}, "words that occur once are unknown"
    place = {word: i + 3 for i, word in enumerate(source.vocabulary)}
    words = ["a", "dull", "film", ",", "the", '"']
    assert source.inputs[0].tolist() == [START, *(place[word] for word in words), UNKNOWN]


def test_read_tsv_texts_changed_held_out_text_keeps_vocabulary(reviews: Path) -> None:
    source = load_source(f"tsv:{reviews}")
    held_out = next(i for i in range(60) if i not in split_source(source)[TRAIN])
    rows = [(text + " surprise surprise" * (i == held_out), label) for i, (text, label) in enumerate(ROWS)]
    reviews.write_text(table(rows), encoding="utf-8")
    again = load_source(f"tsv:{reviews}")
    assert again.vocabulary == source.vocabulary
    assert np.array_equal(again.inputs, source.inputs), "the length is the same"


def test_read_tsv_texts_folder_has_official_test_set(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(table(ROWS, "text\tlabel"))
    (tmp_path / "dev.tsv").write_text(table([("a fine film", "1"), ("dull", "0")]))
    source = load_source(f"tsv:{tmp_path}")
    assert (len(source.labels), source.official_test) == (62, 2)
    assert source.inputs[-1, 2:].tolist() == [0] * (source.inputs.shape[1] - 2), "short texts are padded"


def test_read_tsv_texts_labels_with_names_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "named.tsv"
    path.write_text(table([(text, "good" if label == "1" else "bad") for text, label in ROWS]))
    source = load_source(f"tsv:{path}")
    assert source.classes == ("bad", "good")
    assert np.array_equal(source.labels, np.arange(60) % 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "its first line names the columns"),
        ("text,label\na,1\n", "its first line names the columns"),
        ("sentence\tlabel\n", "holds no examples"),
        ("text\tlabel\tLabel\na\t1\t0\n", "two columns are called 'label'"),
        ("sentence\tlabel\nno label\n", "line 2 has 1 columns, not 2"),
        (table([("a", "0"), ("b", "0")]), "all 2 examples are of one class, '0'"),
        (table([("a", "0"), ("b", "1")]), "would be empty or without a class"),
        (b"sentence\tlabel\n\xff\t1\n", "not a text file"),
    ],
)
def test_read_tsv_texts_other_file_raises_artefact_error(
    tmp_path: Path, content: str | bytes | None, words: str
) -> None:
    path = tmp_path / "t.tsv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArtefactError, match=words):
        load_source(f"tsv:{path}")


def test_read_tsv_texts_folder_without_files_raises_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"train\.tsv: cannot be read"):
        load_source(f"tsv:{tmp_path}")


def test_read_tsv_texts_label_per_text_raises_artefact_error(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(table([("a film", f"label {i}") for i in range(100_000)]))
    with pytest.raises(ArtefactError, match="longer than a bundle can hold"):
        load_source(f"tsv:{path}")


def test_read_tsv_texts_text_beyond_a_csv_field_is_cut_like_others(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(table([*ROWS, ("fine film " * 14_000, "1")]))
    source = load_source(f"tsv:{path}")
    assert source.inputs.shape[0] == 61
    fine, film = (source.vocabulary.index(word) + 3 for word in ("fine", "film"))
    assert source.inputs[-1, 1:5].tolist() == [fine, film, fine, film]


def test_read_tsv_texts_unquoted_first_line_has_hint_for_quoted_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(table(ROWS) + '"a film\nof two lines"\t1\n')
    with pytest.raises(ArtefactError, match="line 62 has 1 columns") as caught:
        load_source(f"tsv:{path}")
    assert caught.value.hint is not None
    assert "quoting=csv.QUOTE_ALL" in caught.value.hint


def test_read_tsv_texts_folder_with_an_empty_table_raises_artefact_error(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(table(ROWS))
    (tmp_path / "dev.tsv").write_text(table([]))
    with pytest.raises(ArtefactError, match=r"dev\.tsv: holds no examples"):
        load_source(f"tsv:{tmp_path}")
