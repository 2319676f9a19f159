"""Contents of a source: fingerprints of its examples, which know them again wherever their files lie."""

import hashlib
from dataclasses import replace

import numpy as np

from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.progress import SILENT, Progress
from eetool.wording import counted
from eetool_runtime.manifest import Data

NEW = "new"  # split of examples that the model was not made with
_MOST, _DIGITS = 2048, 16  # fingerprints that a model records, and hexadecimal digits of each; see CONTENTS
_ROWS = 64  # read at a time


def source_contents(source: Source) -> str:
    """Return the fingerprints of a source's examples one after the other; of a large source evenly spaced ones."""
    spaced = np.unique(np.linspace(0, len(source.labels) - 1, _MOST).astype(np.int64))
    return "".join(_fingerprints(source, spaced))


def as_recorded(source: Source, data: Data | None, contents: str | None, progress: Progress = SILENT) -> Source:
    """Return `source` under the name that a model records, where its examples are the recorded ones.

    Other examples under the recorded name are noted: files changed, or a library decodes them in another way.

    Args:
        source: the data.
        data: record of the model's data.
        contents: `source_contents` of them; None in files of earlier versions, which go by the name.
        progress: receives the note.
    """
    if data is None or contents is None:
        return source
    if source_contents(source) == contents:
        return replace(source, name=data.source)
    if source.name == data.source and len(source.labels) == sum(split.n for split in data.splits.values()):
        progress.note(
            f"warning: {source.name}: examples differ from those that the model records; their files changed since, "
            "or the library that decodes them"
        )
    return source


def new_examples(source: Source, contents: str | None, progress: Progress = SILENT) -> np.ndarray:
    """Return the indices of all examples of a source that is new to a model.

    Args:
        source: the data.
        contents: `source_contents` of the data that the model was made with.
        progress: receives a note where that is not known.

    Raises:
        ArtefactError: an example is one of those.
    """
    everything = np.arange(len(source.labels))
    if contents is None:
        progress.note(
            f"warning: the model does not record its examples, so {source.name} may hold some of them. "
            "One that is trained anew records them"
        )
        return everything
    known = {contents[at : at + _DIGITS] for at in range(0, len(contents), _DIGITS)}
    seen = [i for i, mark in enumerate(_fingerprints(source, everything)) if mark in known]
    if seen:
        raise ArtefactError(
            f"{source.name}: {counted(len(seen), 'example')} of {len(everything)} are not new: the model was made with "
            f"them; the first is number {seen[0]}, of class {source.classes[source.labels[seen[0]]]!r}",
            "Leave them out. Without --new-data its own test split is judged.",
        )
    return everything


def _fingerprints(source: Source, indices: np.ndarray) -> list[str]:
    if source.texts:  # their token ids depend on the vocabulary
        return [_digest(source.texts[i].encode()) for i in indices]
    rows = (row for part in range(0, len(indices), _ROWS) for row in source.inputs[indices[part : part + _ROWS]])
    return [_digest(np.ascontiguousarray(row).tobytes()) for row in rows]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGITS // 2).hexdigest()
