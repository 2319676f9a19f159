"""Data of `benchmarks/streams.py`: folds of subjects, and recordings or images that become synthetic streams."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
RATE_HZ, SEED = 50.0, 0
RECORDED = ("samples", "length", "label", "subject", "classes")
PER_FOLD = 2  # subjects


def subject_folds(path: Path) -> list[np.ndarray]:
    """Return the subjects of each fold, chosen at random."""
    with np.load(path, allow_pickle=False) as archive:
        subjects = np.unique(archive["subject"])
    return np.split(np.random.default_rng(SEED).permutation(subjects), len(subjects) // PER_FOLD)


def save_recordings(path: Path, target: Path, test: np.ndarray, validation: np.ndarray) -> None:
    """Write a `signal:` file of all recordings, with those of some subjects as test and validation sets."""
    arrays = _read(path)
    _save_sets(target, arrays, np.isin(arrays["subject"], test), np.isin(arrays["subject"], validation))


def save_final_recordings(path: Path, target: Path, test: np.ndarray) -> None:
    """Write a `signal:` file whose test set are some subjects, and whose validation set is one recording of each class.

    The validation set is of other subjects, and serves the learning curve alone.
    """
    arrays = _read(path)
    others = ~np.isin(arrays["subject"], test)
    rng = np.random.default_rng(SEED)
    held_out = np.zeros(len(others), bool)
    for label in range(len(arrays["classes"])):
        held_out[rng.choice(np.flatnonzero(others & (arrays["label"] == label)))] = True
    arrays["subject"] = np.where(held_out, arrays["subject"].max() + 1, arrays["subject"])  # groups stay whole
    _save_sets(target, arrays, ~others, held_out)


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in RECORDED}


def _save_sets(target: Path, arrays: Arrays, test: np.ndarray, validation: np.ndarray) -> None:
    save(target, {**arrays, "test": test, "val": validation, "rate": np.array(RATE_HZ)})


def save(path: Path, arrays: Arrays) -> None:
    """Write an archive at once; one that exists is kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)


def in_runs(labels: np.ndarray, length: Callable[[np.random.Generator], int], seed: int) -> np.ndarray:
    """Return an order of examples (n,) in runs of one class: every example once, until one class alone is left.

    Args:
        labels: int64 (n,).
        length: draws the length of a run.
        seed: of all choices.
    """
    rng = np.random.default_rng(seed)
    waiting = {label: rng.permutation(np.flatnonzero(labels == label)).tolist() for label in np.unique(labels).tolist()}
    order: list[int] = []
    last = None
    while True:
        choices = [label for label, rows in waiting.items() if rows and label != last]
        if not choices:
            return np.array(order)
        weights = np.array([len(waiting[label]) for label in choices], float)
        last = choices[int(rng.choice(len(choices), p=weights / weights.sum()))]
        take = length(rng)
        order += waiting[last][:take]
        waiting[last] = waiting[last][take:]


def streams_of(
    inputs: np.ndarray, labels: np.ndarray, groups: int, length: Callable[[np.random.Generator], int], seed: int
) -> Arrays:
    """Return examples as `groups` synthetic sequences of runs; each sequence is a group of its own.

    Args:
        inputs: (n, …).
        labels: int64 (n,).
        groups: number of sequences.
        length: draws the length of a run.
        seed: of all choices.
    """
    parts = np.array_split(np.random.default_rng(seed).permutation(len(labels)), groups)
    ordered = [part[in_runs(labels[part], length, seed + i)] for i, part in enumerate(parts)]
    rows = np.concatenate(ordered)
    names = np.repeat(np.arange(groups), [len(part) for part in ordered])
    return {"inputs": inputs[rows], "labels": labels[rows], "sequence": names, "group": names}


def geometric(mean: int) -> Callable[[np.random.Generator], int]:
    """Return a function that draws lengths of a geometric distribution with this mean."""
    return lambda rng: int(rng.geometric(1 / mean))


def save_digits(path: Path, target: Path, mean_run: int) -> None:
    """Write spoken digits as an `npz:` source: streams of every speaker, one digit a second.

    Of 50 recordings of a speaker and a digit, those from 25 on are for training, 10 to 24 to choose policies, and 0 to
    9 to report on. Recordings of a sequence come in runs of one digit. Speakers are known from training.
    """
    with np.load(path, allow_pickle=False) as archive:
        low, step = archive["scale"].tolist()
        features = (archive["logmel_u8"].astype(np.float32) * step + low).astype(np.float32)
        labels, speaker, index = (archive[name].astype(np.int64) for name in ("label", "speaker", "index"))
        names = archive["speakers"]
    arrays: Arrays = {"period_s": np.array(1.0)}
    for prefix, (first, last) in {"": (25, 50), "val_": (10, 25), "test_": (0, 10)}.items():
        parts = []
        for number, name in enumerate(names.tolist()):
            rows = np.flatnonzero((speaker == number) & (index >= first) & (index < last))
            own = streams_of(features[rows], labels[rows], 1, geometric(mean_run), SEED + number)
            parts.append((own["inputs"], own["labels"], np.full(len(own["labels"]), f"{name} {prefix or 'train_'}")))
        inputs, classes, group = (np.concatenate(column) for column in zip(*parts, strict=True))
        arrays |= {f"{prefix}features": inputs, f"{prefix}labels": classes}
        arrays |= {f"{prefix}sequence": group, f"{prefix}group": group}
    save(target, arrays)
