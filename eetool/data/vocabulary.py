"""Vocabulary of a source of texts: built from its training split, checked, and replaced by that of a model.

The vocabulary comes from the training split alone, and the split follows from the labels. The ids of all texts are
therefore determined by the files, and stay the same for every model trained on them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eetool.data.source import Source, validate_source
from eetool.data.splits import TRAIN, split_source
from eetool.errors import ArtefactError, UsageError
from eetool.names import select_words
from eetool.progress import Progress
from eetool_runtime.manifest import UNICODE_17, Input, Text
from eetool_runtime.preprocess import SPECIAL, token_ids
from eetool_runtime.word_segmentation import split_words

MAX_WORDS = 8192 - SPECIAL
LONGEST_TEXT = 64  # tokens, with that of the beginning
_LONGEST_WORD = 64  # characters
_MOST_LOST = 0.5  # share of the training texts that a model cannot tell apart


def add_vocabulary(source: Source, texts: Sequence[str]) -> Source:
    """Return `source` with the ids of its `texts` as inputs, and the vocabulary of its training split."""
    training = [texts[i] for i in split_source(validate_source(source))[TRAIN]]
    rule = Text(build_vocabulary(training), UNICODE_17)
    longest = max(len(split_words(text, rule.segmentation)) for text in training)
    ids = token_ids(texts, rule, min(1 + longest, LONGEST_TEXT))
    return replace(source, inputs=ids, texts=tuple(texts), text_rule=rule)


def build_vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words that occur at least twice, by descending frequency, then by code points.

    Words that no bundle can hold are left out.
    """
    counts = Counter(word for text in texts for word in split_words(text, UNICODE_17) if len(word) <= _LONGEST_WORD)
    frequent = sorted((-count, word) for word, count in counts.items() if count > 1)
    return select_words(word for _, word in frequent)[:MAX_WORDS]


def check_vocabulary(source: Source, indices: np.ndarray, progress: Progress) -> None:
    """Say what a model does not see of the training texts `indices`.

    Raises:
        UsageError: the vocabulary is empty, or it tells fewer than half of the texts apart.
    """
    if source.text_rule is None:
        return
    ids, labels, n = source.inputs[indices], source.labels[indices], len(indices)
    words = [split_words(source.texts[i], source.text_rule.segmentation) for i in indices]
    silent = ~(ids >= SPECIAL).any(axis=1)
    mistaken, contradicted = _same_inputs(ids, words, labels)
    mistaken &= ~silent
    size = len(source.text_rule.vocabulary)
    lines = {
        f"have none of the {size} words of the vocabulary": silent.sum(),
        "differ from texts of another class in unknown or cut words only": mistaken.sum(),
        "are also there with another label": contradicted.sum(),
        f"have more than {ids.shape[1] - 1} words and are cut there": sum(len(w) >= ids.shape[1] for w in words),
    }
    if not size or (silent | mistaken).mean() > _MOST_LOST:
        lost = ", ".join(f"{count} {what}" for what, count in list(lines.items())[:2])
        raise UsageError(
            f"{source.name}: the texts share too few words to learn from: of {n} training texts {lost}",
            "The vocabulary has the words that occur at least twice in them: bring more texts, or put spaces between "
            "words.",
        )
    for what, count in lines.items():
        if count:
            progress.note(f"{count} of {n} training texts {what}")


def _same_inputs(ids: np.ndarray, words: Sequence[list[str]], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which texts become the same ids as one of another label: other texts, and the same text again."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, row in enumerate(ids):
        groups[row.tobytes()].append(index)
    mistaken, contradicted = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
    for group in groups.values():
        labels_of: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for index in group:
            labels_of[tuple(words[index])].add(int(labels[index]))
        if len(set.union(*labels_of.values())) > 1:
            for index in group:
                own = labels_of[tuple(words[index])]
                contradicted[index] = len(own) > 1
                mistaken[index] = len(own) == 1
    return mistaken, contradicted


def use_model_vocabulary(source: Source, inputs: Sequence[Input]) -> Source:
    """Return `source` with its texts as the ids of a model with these `inputs`, which has a vocabulary of its own.

    A model of an earlier version splits words by another rule, and texts may have changed since the training.

    Raises:
        ArtefactError: the model has no vocabulary.
    """
    if source.text_rule is None:
        return source
    rule = inputs[0].text
    if rule is None:
        raise ArtefactError(f"the model has no vocabulary for the texts of {source.name}", "Give other data.")
    length = int(inputs[0].shape[1])
    if rule == source.text_rule and length == source.inputs.shape[1]:
        return source
    return replace(source, inputs=token_ids(source.texts, rule, length), text_rule=rule)
