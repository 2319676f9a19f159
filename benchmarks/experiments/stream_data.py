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
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in RECORDED}
    sets = {"test": np.isin(arrays["subject"], test), "val": np.isin(arrays["subject"], validation)}
    save(target, {**arrays, **sets, "rate": np.array(RATE_HZ)})


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
