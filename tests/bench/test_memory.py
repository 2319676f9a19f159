"""Memory for the graphs of a benchmark."""

from pathlib import Path

import pytest

from eetool.bench.memory import available_bytes, fits_in_memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [("MemTotal: 9 kB\nMemAvailable:   300 kB\n", 300 * 1024), ("MemTotal: 9 kB\n", 2 * 2**30), (None, 2 * 2**30)],
)
def test_available_bytes_is_read_from_the_system(tmp_path: Path, text: str | None, expected: int) -> None:
    (tmp_path / "proc").mkdir()
    if text is not None:
        (tmp_path / "proc/meminfo").write_text(text)
    assert available_bytes(tmp_path) == expected


def test_fits_in_memory_leaves_half_and_counts_copies_of_the_engine() -> None:
    assert fits_in_memory(100, 600)
    assert not fits_in_memory(100, 599)
