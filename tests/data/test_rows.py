"""Rows of a large array."""

from eetool.data.rows import rows_per_pass


def test_rows_per_pass_large_images_come_in_small_batches() -> None:
    assert rows_per_pass((3, 32, 32)) == 64
    assert rows_per_pass((3, 224, 224)) == 3
    assert rows_per_pass((3, 4096, 4096)) == 1
