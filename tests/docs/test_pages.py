"""Documentation: every block of commands or Python runs, and the reference equals the help."""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Run by tests of their own.
ELSEWHERE = {"embedding.md": "runtimes/python/tests/test_embedding.py"}
OWN_TESTS = {"photos": "tests/examples/test_photos.py"}
EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*/README.md") if p.parent.name not in OWN_TESTS)
MEASURING = ("bench", "profile")  # for seconds that steady times need and a test does not
TRAINED_FULLY = "tutorial.md"  # `advise` refuses a network that knows nothing; on other pages an epoch is enough
_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"\*Not run in the tests: (?P<reason>[^*]+)\.\*\s*\Z")


class Block:
    """Fenced block, with its language and the reason if it is not run."""

    def __init__(self, page: Path, match: re.Match[str], text: str) -> None:
        self.language, self.code, self.page = match["language"], match["code"], page.name
        self.where = f"{page.relative_to(ROOT)}, line {text.count(chr(10), 0, match.start()) + 1}"
        excuse = _NOT_RUN.search(text[: match.start()])
        self.excuse = excuse["reason"] if excuse else None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(page, match, text) for match in _BLOCK.finditer(text)]


def pages() -> list[Path]:
    """Pages with code, the tutorial first: the others use its files."""
    found = [DOCS / "tutorial.md", *sorted(DOCS.rglob("*.md")), ROOT / "README.md", *EXAMPLES]
    own = [p for p in dict.fromkeys(found) if p.name not in ELSEWHERE]
    return [p for p in own if any(b.language in ("sh", "python") for b in blocks(p))]


class Workshop:
    """Folder in which the blocks of all pages run."""

    def __init__(self, folder: Path, cli: Callable[..., Any]) -> None:
        self.folder, self._cli = folder, cli

    def run(self, page: Path) -> None:
        names: dict[str, Any] = {"image": np.zeros((32, 32), np.uint8)}
        with contextlib.chdir(self.folder), importable(self.folder):
            for block in blocks(page):
                if block.excuse is None and block.language == "sh":
                    self._commands(block)
                elif block.excuse is None and block.language == "python":
                    self._python(block, names)

    def _commands(self, block: Block) -> None:
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] in ("eetool", "python"), f"{block.where}: cannot run {words[0]!r}; say why it is not run"
            if words[0] == "eetool":
                if words[1] in MEASURING and "--min-seconds" not in words and "--device" not in words:
                    words += ["--min-seconds", "0"]
                if words[1] == "train" and "--epochs" in words and block.page != TRAINED_FULLY:
                    epochs = words.index("--epochs") + 1
                    words[epochs] = str(min(1, int(words[epochs])))
                result = self._cli(*words[1:])
                if result.code == 7:  # times scattered, as they may on a machine that runs tests
                    result = self._cli(*words[1:], "--accept-unstable")
                assert result.code == 0, f"{block.where}: {line}\n{result}"
            else:
                subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True)

    def _python(self, block: Block, names: dict[str, Any]) -> None:
        first = re.match(r"# (\w+\.py)\n", block.code)
        if first:
            Path(first[1]).write_text(block.code, encoding="utf-8")
            return
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.code, block.where, "exec"), names)  # noqa: S102 - our own text


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let blocks import the files of a folder, as a program in that folder does."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def workshop(once: Callable[..., Path], tmp_path_factory: Any, cli: Callable[..., Any]) -> Iterator[Workshop]:
    """Copy of the folder in which the tutorial was run."""
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    done = once("tutorial", lambda folder: Workshop(folder, cli).run(DOCS / "tutorial.md"))
    sys.modules.pop("mynet", None)  # that of the folder where it was done
    yield Workshop(Path(shutil.copytree(done, tmp_path_factory.mktemp("workshop") / "tutorial")), cli)
    sys.modules.pop("mynet", None)


@pytest.mark.parametrize("page", [page for page in pages() if page in EXAMPLES], ids=lambda page: page.parent.name)
def test_example_page_runs(cli: Callable[..., Any], tmp_path: Path, page: Path) -> None:
    workshop = Workshop(Path(shutil.copytree(page.parent, tmp_path / page.parent.name)), cli)
    workshop.run(page)
    assert any(workshop.folder.glob("*.eebundle")) or all(block.excuse for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in pages() if page not in EXAMPLES], ids=lambda page: page.stem)
def test_page_blocks_run(workshop: Workshop, page: Path) -> None:
    if page.name != "tutorial.md":
        workshop.run(page)
    assert any(workshop.folder.glob("*.eebundle"))


def test_blocks_not_run_have_a_reason() -> None:
    excuses = [(block.where, block.excuse) for page in pages() for block in blocks(page) if block.excuse]
    assert excuses
    assert all(re.match(r"(needs|takes|they run)\b", reason) for _, reason in excuses), excuses


def test_pages_run_elsewhere_are_named_in_that_test() -> None:
    for name, test in (*ELSEWHERE.items(), *OWN_TESTS.items()):
        assert name in (ROOT / test).read_text(encoding="utf-8")


def test_cli_reference_equals_help() -> None:
    spec = importlib.util.spec_from_file_location("write_cli_reference", ROOT / "tools/write_cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    result = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert result == tool.text(), "run python tools/write_cli_reference.py"


def test_options_in_pages_exist(cli: Callable[..., Any]) -> None:
    """In blocks that are not run as well."""
    for page in [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", *EXAMPLES]:
        for block in blocks(page):
            for line in block.code.replace("\\\n", " ").splitlines() if block.language == "sh" else ():
                for verb, options in _named(line):
                    known = cli(*verb.split(), "--help").stdout
                    assert all(re.search(rf"(?<![\w-]){o}(?![\w-])", known) for o in options), f"{block.where}: {line}"


def _named(line: str) -> Iterator[tuple[str, list[str]]]:
    for call in re.findall(r"(?:^|\s)eetool ([^&|;>]+)", line):
        words = shlex.split(call, comments=True)
        verb = " ".join(words[:2]) if words[0] == "table" else words[0]
        yield verb, [word for word in words[1:] if re.fullmatch(r"-\w|--[\w-]+", word)]


def test_site_builds_without_warning(tmp_path: Path) -> None:
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name, reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "cli.html").is_file()
