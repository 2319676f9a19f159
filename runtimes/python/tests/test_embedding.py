"""The Python blocks of docs/embedding.md run in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny_bundle import write_tiny_bundle

DOCUMENT = Path(__file__).parents[3] / "docs/embedding.md"


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="the document is in the repository")
def test_embedding_page_every_block_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    names: dict[str, Any] = {"path": write_tiny_bundle(tmp_path), "image": np.full((4, 4), 32, np.uint8)}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{DOCUMENT.name}, block {number + 1}", "exec"), names)  # noqa: S102 - our own text
    assert "exit" in capsys.readouterr().out or names["result"].gated
    assert names["stats"]["calls"] >= 0
    assert len(names["results"]) == 3
