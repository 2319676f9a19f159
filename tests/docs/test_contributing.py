"""CONTRIBUTING.md: every file and folder that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PATH = re.compile(r"`((?:[a-z_]+/)+(?:[\w-]+\.(?:py|md|json|toml))?)`")


def test_contributing_named_paths_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = [path for path in _PATH.findall(text) if "NAME" not in path]
    assert len(paths) > 20
    assert [path for path in paths if not any((ROOT / base / path).exists() for base in (".", "eetool"))] == []


def test_contributing_tree_folders_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (tree,) = (block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if block.startswith("eetool/"))
    parents: list[tuple[int, Path]] = []
    missing = []
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        parents = [(depth, path) for depth, path in parents if depth < indent]
        base = parents[-1][1] if parents else ROOT
        for name in re.split(r"\s{3,}", line.strip())[0].split():
            folder = base / name
            missing += [] if folder.exists() else [str(folder.relative_to(ROOT))]
        if line.split()[0].endswith("/"):
            parents.append((indent, base / line.split()[0]))
    assert missing == []
