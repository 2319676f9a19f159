"""The Lightning block of docs/api.md, where that package is installed."""

import contextlib
import re
import sys
from pathlib import Path

import pytest

import eetool

PAGE = Path(__file__).parents[2] / "docs/api.md"


@pytest.mark.filterwarnings("ignore")
def test_lightning_block_trains_and_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning", reason="the package lightning is not installed")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    network = next(block for block in blocks if block.startswith("# ownnet.py"))
    (block,) = (block for block in blocks if "import lightning" in block)
    (tmp_path / "ownnet.py").write_text(network, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with contextlib.chdir(tmp_path):
            exec(compile(block, str(PAGE), "exec"), {"__name__": "docs"})  # noqa: S102 - our own text
            tuned = eetool.tune("lightning.pt", "digits", max_accuracy_drop=5, reference="ownnet:OwnNet")
        assert tuned.operating_points["full"].expected.accuracy > 0.5  # type: ignore[union-attr]
    finally:
        sys.modules.pop("ownnet", None)
