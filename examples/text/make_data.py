"""Lines of Python's standard library as a small real data set of texts with the classes code and words.

    python make_data.py lines.tsv

Comments and the lines of docstrings are words; all other lines are code. It needs no download. Some lines are hard:
commented-out code, and prose that quotes code.
"""

import ast
import io
import random
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

MODULES = ("argparse", "ast", "configparser", "datetime", "difflib", "doctest", "inspect", "logging/__init__")
MODULES += ("pathlib", "pdb", "random", "shutil", "socket", "statistics", "subprocess", "tarfile", "textwrap")
MODULES += ("threading", "typing")
PER_CLASS, LEAST_CHARACTERS = 1500, 12


def lines(source: str) -> Iterator[tuple[str, str]]:
    """Yield every line of a module that is long enough, with its label."""
    words: dict[int, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            words.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), "words"))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            words[token.start[0]] = "words"
    for number, line in enumerate(source.splitlines(), 1):
        text = " ".join(line.strip().strip("#\"'").split())
        if len(text) >= LEAST_CHARACTERS:
            yield text, words.get(number, "code")


def main() -> int:
    """Write equally many lines of each kind, in a seeded random order."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = [pair for name in MODULES for pair in lines((library / f"{name}.py").read_text(encoding="utf-8"))]
    random.Random(0).shuffle(found)
    chosen = [p for kind in ("code", "words") for p in [p for p in found if p[1] == kind][:PER_CLASS]]
    table = "".join(f"{text}\t{label}\n" for text, label in chosen)
    Path(sys.argv[1]).write_text(f"sentence\tlabel\n{table}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
