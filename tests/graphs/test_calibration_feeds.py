"""Calibration inputs in files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eetool.graphs.calibration_feeds import Case, save_feeds


def test_save_feeds_gives_back_every_case_of_the_named_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = [
        {"x": rng.random((1, 3, 4)).astype(np.float32), "scalar": np.float32(i).reshape(()), "ids": np.array([[i]])}
        for i in range(5)
    ]
    feeds = save_feeds(tmp_path / "new", ["scalar", "ids"], cases).of(["ids", "scalar"])
    assert len(feeds) == 5
    for _ in range(2):  # quantisers count them first
        read = list(feeds)
        assert [list(case) for case in read] == [["ids", "scalar"]] * 5
        for case, expected in zip(read, cases, strict=True):
            for name, array in case.items():
                assert array.dtype == expected[name].dtype
                assert np.array_equal(array, expected[name])
                assert array.shape == expected[name].shape


def test_save_feeds_writes_a_case_before_the_next_is_made(tmp_path: Path) -> None:
    alive = list[int]()

    class Counted(np.ndarray):
        """Array that says when it is gone."""

        def __del__(self) -> None:
            alive.append(-1)

    def make() -> Iterator[Case]:
        for _ in range(6):
            alive.append(1)
            assert sum(alive) <= 2
            yield {"x": np.zeros((1, 2), np.float32).view(Counted)}

    assert len(save_feeds(tmp_path, ["x"], make())) == 6
