"""Texts of a file as model inputs, one per line, with notes about those that the model hardly reads."""

from pathlib import Path

import numpy as np

from eetool.errors import ArtefactError
from eetool.progress import Progress
from eetool.records import read_text
from eetool_runtime import Model
from eetool_runtime.preprocess import SPECIAL
from eetool_runtime.word_segmentation import split_words

_BYTE_ORDER_MARK = "\ufeff"


def read_text_lines(path: Path, model: Model, progress: Progress) -> list[np.ndarray]:
    """Return inputs (1, tokens), one for each line that is not blank. A text ends at a line feed alone.

    Raises:
        ArtefactError: the model takes no texts.
    """
    text = read_text(path)
    spec = model.bundle.manifest.inputs[0]
    if spec.text is None:
        hint = "Give an .npy file, or an image where the model takes images."
        raise ArtefactError(f"{path}: this model takes no texts", hint)
    lines = [line for line in text.removeprefix(_BYTE_ORDER_MARK).split("\n") if line.strip()]
    inputs = [model.preprocess(line) for line in lines]
    limit, segmentation = int(spec.shape[1]) - 1, spec.text.segmentation
    unknown = [not (ids >= SPECIAL).any() for ids in inputs]
    cut = [len(split_words(line, segmentation)) > limit for line in lines]
    _note(progress, path, unknown, "have no word that the model knows, so that their answers say nothing")
    _note(progress, path, cut, f"have more than {limit} words and are cut there")
    return inputs


def _note(progress: Progress, path: Path, concerned: list[bool], what: str) -> None:
    if any(concerned):
        numbers = f"{sum(concerned)} of {len(concerned)} texts, the first is [{concerned.index(True)}],"
        progress.note(f"warning: {path}: {numbers} {what}")
