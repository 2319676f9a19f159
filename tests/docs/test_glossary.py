"""docs/glossary.md: every class that it names exists, and no two public classes have one name."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("eetool", "runtimes/python/eetool_runtime", "runtimes/measure/eetool_measure")


@cache
def public_classes() -> Counter[str]:
    """Return how often each public class name is defined at the top level of a module."""
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules]
    return Counter(n.name for tree in trees for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_")


def test_glossary_named_classes_exist() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    names = re.findall(r"`(?:\w+\.)*([A-Z]\w*[a-z]\w*)`", text)
    assert names
    classes = public_classes()
    assert sorted({name for name in names if name not in classes} - {"If", "Stage"}) == []


def test_public_classes_same_name_is_used_once() -> None:
    assert {name: count for name, count in public_classes().items() if count > 1} == {}
