"""Windows of long recordings of sensors: `signal:FILE@WINDOW/STEP`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.data.class_names import composed, first_twice
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.numpy_arrays import read_npz_members
from eetool.data.sequences import check_sets, number_sequences
from eetool.data.signal_windows import Windows, split_windows
from eetool.data.source import Source, integer_labels, number_classes
from eetool.errors import ArtefactError, UsageError
from eetool.names import quote
from eetool.records import open_regular
from eetool.wording import counted

_SAMPLES, _LENGTH, _LABEL, _SUBJECT, _SEQUENCE = "samples", "length", "label", "subject", "sequence"
_CLASSES, _RATE = "classes", "rate"
_SETS = _VALIDATION, _TEST = "val", "test"
_NEEDED = (_SAMPLES, _LENGTH, _LABEL, _SUBJECT)
_HINT = (
    "An archive of numpy.savez is needed: samples of floats (all, channels), recording after recording; length, label "
    "and subject (recordings,), or label (all,); and if there are any sequence (recordings,), test and val "
    "(recordings,) of 0 and 1, classes (names), rate (Hz)."
)


@dataclass(frozen=True)
class _Recordings:
    """Recordings one after the other.

    Attributes:
        samples: float32 (all, channels).
        lengths: int64 (recordings,).
        labels: int64 (all,), of each sample.
        arrays: all arrays of the archive.
        order: int64 (recordings,), recordings in the order of their sequences, those of the test set last.
        sets: int64 (recordings,), 0 for training, 1 for the validation set, 2 for the test set.
    """

    samples: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    arrays: dict[str, np.ndarray]
    order: np.ndarray
    sets: np.ndarray


def read_signal(path_and_windows: str) -> Source:
    """Cut recordings into windows (frames, channels), which are examples; no window reaches into two recordings.

    The label of a window is that of most of its samples, of two equal shares the later one. Recordings of one subject
    follow each other in the order of the file as one sequence, unless `sequence` says which do.

    Raises:
        UsageError: windows or the rate are missing, or no recording is as long as a window.
        ArtefactError: an array is missing or damaged, or a sample is not finite.
    """
    file, windows = split_windows(path_and_windows)
    path = Path(file)
    arrays = _read(path)
    rate = _rate(path, arrays, windows)
    width, step = (max(1, round(seconds * rate)) for seconds in (windows.window_s, windows.step_s))
    recordings = _recordings(path, arrays)
    starts = _window_starts(recordings, width, step)
    count = sum(len(own) for own in starts)
    if not count:
        longest = recordings.lengths.max(initial=0) / rate
        raise UsageError(f"{path}: no recording is as long as a window; the longest has {longest:g} s", "Cut shorter.")
    first = np.concatenate(starts)
    inputs = np.lib.stride_tricks.sliding_window_view(recordings.samples, width, axis=0)[first]
    labels, mixed = _window_labels(recordings.labels, first, width)
    owner = np.concatenate([np.full(len(own), r) for r, own in zip(recordings.order, starts, strict=True)])
    subject = arrays[_SUBJECT][owner]
    order, _ = number_sequences(str(path), arrays.get(_SEQUENCE, arrays[_SUBJECT])[owner], subject, step / rate)
    classes = _classes(path, arrays, labels)
    sizes = np.bincount(recordings.sets[owner], minlength=3).tolist()
    check_sets(str(path), order, sizes)
    return Source(
        f"signal:{path.name}@{windows}",
        np.ascontiguousarray(inputs.transpose(0, 2, 1)),  # (N, channels, frames) -> (N, frames, channels)
        labels,
        classes,
        mirror=None,
        official_test=sizes[2] or sizes[1],
        official_validation=sizes[1] if sizes[2] else 0,
        notes=tuple(_notes(recordings, width, mixed)),
        order=order,
    )


def _notes(recordings: _Recordings, width: int, mixed: int) -> list[str]:
    notes = []
    short = int((recordings.lengths < width).sum())
    if short:
        notes.append(f"skipped, shorter than a window: {counted(short, 'recording')}")
    if mixed:
        notes.append(f"labels change inside {counted(mixed, 'window')}: each has the label of most of its samples")
    return notes


def _read(path: Path) -> dict[str, np.ndarray]:
    wanted = {*_NEEDED, _SEQUENCE, _CLASSES, _RATE, *_SETS}
    try:
        with open_regular(path) as file:
            names, arrays = read_npz_members(file, wanted)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", _HINT) from None
    except Exception as error:  # numpy and zipfile raise many unrelated types for a damaged file
        raise ArtefactError(f"{path}: not a readable .npz file: {error_reason(error)}", _HINT) from None
    missing = next((name for name in _NEEDED if name not in arrays), None)
    if missing is not None:
        raise ArtefactError(
            f"{path}: the array {missing!r} is missing; found {', '.join(map(quote, sorted(names)[:8]))}", _HINT
        )
    return arrays


def _rate(path: Path, arrays: dict[str, np.ndarray], windows: Windows) -> float:
    """Return samples per second: of the file, or of the name."""
    stored = arrays.get(_RATE)
    if stored is None:
        if windows.rate_hz is None:
            raise UsageError(
                f"{path}: has no rate, so seconds are no number of samples",
                f"Give --rate HZ, or signal:{path}@{windows}/HZ; or store rate=50.0 in it.",
            )
        return windows.rate_hz
    if stored.size != 1 or stored.dtype.kind not in "iuf" or not 0 < float(stored.ravel()[0]) < np.inf:
        raise ArtefactError(f"{path}: rate is {quote(str(stored))}, not one number of Hz above 0", _HINT)
    rate = float(stored.ravel()[0])
    if windows.rate_hz not in (None, rate):
        raise UsageError(f"{path}: was recorded at {rate:g} Hz, not at {windows.rate_hz:g}", "Leave the rate out.")
    return rate


def _recordings(path: Path, arrays: dict[str, np.ndarray]) -> _Recordings:
    samples, lengths = arrays[_SAMPLES], arrays[_LENGTH]
    if samples.ndim != 2 or not np.issubdtype(samples.dtype, np.floating):
        raise ArtefactError(f"{path}: samples are {samples.dtype} {samples.shape}, not floats (all, channels)", _HINT)
    bad = np.flatnonzero(~np.isfinite(samples).all(1))
    if len(bad):
        raise ArtefactError(
            f"{path}: sample {bad[0]} is not finite; {len(bad)} are not",
            "Interpolate them, or cut the recording there.",
        )
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any() or lengths.sum() != len(samples):
        raise ArtefactError(f"{path}: the lengths do not add up to the {len(samples)} samples", _HINT)
    for name in {_SUBJECT, _SEQUENCE, *_SETS} & set(arrays):
        if arrays[name].shape != lengths.shape:
            raise ArtefactError(f"{path}: {name} is {arrays[name].shape}, for {len(lengths)} recordings", _HINT)
    labels = integer_labels(f"{path}: label", arrays[_LABEL])
    if len(labels) == len(lengths):
        labels = np.repeat(labels, lengths)
    if len(labels) != len(samples):
        raise ArtefactError(
            f"{path}: label is {arrays[_LABEL].shape}, for {len(lengths)} recordings of {len(samples)} samples", _HINT
        )
    names = arrays.get(_SEQUENCE, arrays[_SUBJECT])
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    sets = np.zeros(len(lengths), np.int64)
    for number_of_set, name in enumerate(_SETS, 1):
        sets[arrays[name].astype(bool) if name in arrays else slice(0)] = number_of_set
    order = np.lexsort((np.arange(len(lengths)), first[number], sets))  # in the order of the file
    return _Recordings(samples.astype(np.float32, copy=False), lengths.astype(np.int64), labels, arrays, order, sets)


def _window_starts(recordings: _Recordings, width: int, step: int) -> list[np.ndarray]:
    """Return the first sample of each window, by recording in their order."""
    begins = np.concatenate([[0], np.cumsum(recordings.lengths)])[:-1]
    ends = begins + recordings.lengths - width + 1
    return [np.arange(begins[r], max(ends[r], begins[r]), step) for r in recordings.order]


def _window_labels(labels: np.ndarray, first: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Return the label of most samples of each window, and how many windows have several."""
    changes = np.concatenate([[0], np.cumsum(labels[1:] != labels[:-1])])
    mixed = np.flatnonzero(changes[first + width - 1] != changes[first])
    result = labels[first + width - 1].copy()
    for row in mixed:
        window = labels[first[row] : first[row] + width]
        counts = np.bincount(window)
        most = np.flatnonzero(counts == counts.max())
        result[row] = max(most, key=lambda label: int(np.flatnonzero(window == label)[-1]))
    return result, len(mixed)


def _classes(path: Path, arrays: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    stored = arrays.get(_CLASSES)
    if stored is None:
        return number_classes(f"{path}: label", labels)
    if stored.ndim != 1 or stored.dtype.kind != "U" or not len(stored):
        raise ArtefactError(f"{path}: classes are {stored.dtype} {stored.shape}, not texts (classes,)", _HINT)
    names = tuple(composed(str(name)) for name in stored)
    twice = first_twice(names)
    if twice is not None:
        raise ArtefactError(f"{path}: two classes have one name, {quote(twice)}", "Every class needs its own.")
    return names
