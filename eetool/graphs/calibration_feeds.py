"""Calibration inputs of graphs in files: written case by case, and read one case at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

Case = Mapping[str, np.ndarray]  # an array for each input of a graph, at batch 1


@dataclass(frozen=True)
class FeedFile:
    """File of one tensor of all cases, one after the other; `shape` and `dtype` are those of a case."""

    path: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Feeds:
    """Files of the tensors of `count` cases, by name; iteration reads the cases one by one."""

    files: dict[str, FeedFile]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for number in range(self.count):
            yield {name: _read(file, number) for name, file in self.files.items()}

    def of(self, names: Sequence[str]) -> "Feeds":
        """Return the tensors `names` alone."""
        return Feeds({name: self.files[name] for name in names}, self.count)


def save_feeds(folder: Path, names: Sequence[str], cases: Iterable[Case]) -> Feeds:
    """Write the tensors `names` of every case to files in `folder`, which is made; cases may be made meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    forms, count = dict[str, FeedFile](), 0
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for case in cases:
            for number, name in enumerate(names):
                if name not in forms:
                    path = folder / f"{number}.feed"
                    files[name] = stack.enter_context(path.open("wb"))
                    forms[name] = FeedFile(str(path), case[name].shape, case[name].dtype.str)
                files[name].write(np.ascontiguousarray(case[name]).tobytes())
            count += 1
    return Feeds(forms, count)


def _read(file: FeedFile, number: int) -> np.ndarray:
    size = int(np.prod(file.shape))
    dtype = np.dtype(file.dtype)
    return np.fromfile(file.path, dtype, size, offset=number * size * dtype.itemsize).reshape(file.shape)
