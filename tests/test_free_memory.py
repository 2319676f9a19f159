"""Memory that is free, and what fits into it."""

from pathlib import Path

import pytest

from eetool.errors import OutputError
from eetool.free_memory import available_bytes, fits_in_memory, require_free


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


def test_require_free_too_large_raises_output_error() -> None:
    require_free(600, "folder: 6 images", "Ask for less.", available=600)
    with pytest.raises(OutputError, match=r"folder: 6 images take 3\.0 GB of memory, and 2\.0 GB are free"):
        require_free(3 * 10**9, "folder: 6 images", "Ask for less.", available=2 * 10**9)
