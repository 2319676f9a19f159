"""Clips as folders of numbered images: `frames:DIR`."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.data.class_names import composed
from eetool.data.file_notes import FileNotes
from eetool.data.image_form import ImageForm
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.folder_layout import find_images
from eetool.data.readers.image_folder import read_images
from eetool.data.sequences import number_sequences
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.progress import SILENT, Progress
from eetool.records import open_regular
from eetool.wording import counted

TABLE = "labels.csv"
_NUMBER = re.compile(r"(\d{1,15})\D*\Z")
_CLIP, _LABEL, _FRAME, _GROUP, _FPS = "clip", "label", "frame", "group", "fps"
_HINT = (
    f"DIR/CLIP/000001.png … are the frames of a clip. DIR/{TABLE} has the columns clip,label and if there are any "
    "group, fps, and frame: the number of the first frame that has the label."
)


@dataclass
class _Clip:
    """A clip: its group, its rate, and its labels by the number of the first frame that has each."""

    group: str
    fps: str
    labels: dict[int, str]


def read_frames(folder: Path, form: ImageForm | None = None, progress: Progress = SILENT) -> Source:
    """Read the numbered images of each clip in `folder`, with the labels in its `labels.csv`.

    A number that is missing is a frame that is not known. Where three or more follow each other, a new sequence begins.

    Args:
        folder: the folder.
        form: see `read_image_folder`.
        progress: shows the decoding of many images.

    Raises:
        ArtefactError: the table is damaged, a clip has no frames, a frame has no number or no label, or an image cannot
            be read.
    """
    clips, notes = _read_table(folder), FileNotes()
    paths: list[Path] = []
    labels: list[str] = []
    owners: list[str] = []
    numbers: list[int] = []
    for name, clip in clips.items():
        frames = _numbered(folder / name, notes)
        paths += frames.values()
        numbers += frames
        owners += [name] * len(frames)
        labels += _frame_labels(folder / name, clip, list(frames))
    classes, indices = np.unique(np.array(labels), return_inverse=True)
    inputs, lines = read_images(paths, folder, form, notes, progress)
    period_s = _period(folder, clips)
    times = np.array(numbers, np.float64) * (1.0 if period_s is None else period_s)
    groups = np.array([clips[name].group for name in owners])
    order, pauses = number_sequences(str(folder), np.array(owners), groups, period_s or 1.0, times)
    if period_s is None:
        order = type(order)(order.sequence, order.group, order.groups)
    return Source(
        f"frames:{folder.resolve().name}",
        inputs,
        indices.astype(np.int64),
        tuple(map(str, classes)),
        mirror=None,
        notes=(*pauses, *notes.lines(), *lines, *_unused(folder, clips)),
        resize=form.rule if form is not None else None,
        order=order,
    )


def _read_table(folder: Path) -> dict[str, _Clip]:
    path = folder / TABLE
    try:
        with open_regular(path) as file:
            rows = list(csv.DictReader(file.read().decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", _HINT) from None
    if not rows or not {_CLIP, _LABEL} <= set(rows[0]):
        raise ArtefactError(f"{path}: has no lines with the columns clip and label", _HINT)
    clips: dict[str, _Clip] = {}
    for line, row in enumerate(rows, 2):
        name, label, frame = (row.get(column) or "" for column in (_CLIP, _LABEL, _FRAME))
        if not name or not label or name in (".", "..") or "/" in name or "\\" in name:
            raise ArtefactError(f"{path}: line {line} has no label, or no folder as its clip", _HINT)
        if frame and not frame.isdecimal():
            raise ArtefactError(f"{path}: line {line}: {quote(frame)} is no number of a frame", _HINT)
        group, fps = row.get(_GROUP) or "", row.get(_FPS) or ""
        clip = clips.setdefault(name, _Clip(group or name, fps, {}))
        if group not in ("", clip.group) or fps not in ("", clip.fps):
            raise ArtefactError(f"{path}: line {line}: the clip {quote(name)} has another group or rate before", _HINT)
        first = int(frame or 0)
        if first in clip.labels:
            raise ArtefactError(f"{path}: line {line}: the clip {quote(name)} has a label for this frame", _HINT)
        clip.labels[first] = composed(label)
    return clips


def _numbered(clip: Path, notes: FileNotes) -> dict[int, Path]:
    """Return the images of a clip by their numbers, in their order."""
    if not clip.is_dir():
        raise ArtefactError(f"{clip}: {TABLE} names a clip that is no folder", _HINT)
    frames: dict[int, Path] = {}
    for path in find_images(clip, notes):
        match = _NUMBER.search(path.stem)
        if match is None or int(match[1]) in frames:
            what = "has no number" if match is None else f"has the number of {frames[int(match[1])].name}"
            raise ArtefactError(f"{path}: {what}", _HINT)
        frames[int(match[1])] = path
    if not frames:
        raise ArtefactError(f"{clip}: no images were found", _HINT)
    return dict(sorted(frames.items()))


def _frame_labels(place: Path, clip: _Clip, frames: list[int]) -> list[str]:
    firsts = sorted(clip.labels)
    if frames[0] < firsts[0]:
        raise ArtefactError(f"{place}: frame {frames[0]} has no label; the first is from frame {firsts[0]} on", _HINT)
    at = np.searchsorted(firsts, frames, side="right") - 1
    return [clip.labels[firsts[i]] for i in at.tolist()]


def _period(folder: Path, clips: dict[str, _Clip]) -> float | None:
    rates = {clip.fps for clip in clips.values()} - {""}
    if not rates:
        return None
    try:
        (fps,) = map(float, rates)
        if 0 < fps < np.inf:
            return 1 / fps
    except ValueError:
        pass
    raise ArtefactError(f"{folder / TABLE}: fps is {', '.join(map(quote, sorted(rates)))}", "One number for all clips.")


def _unused(folder: Path, clips: dict[str, _Clip]) -> list[str]:
    others = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name not in clips)
    if not others:
        return []
    return [f"warning: {TABLE} does not name {counted(len(others), 'folder')}, such as {quote(others[0])}"]
