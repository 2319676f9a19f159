"""The command: verbs, options, imports and errors."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from eetool import __version__
from eetool.cli.app import VERBS, cli
from eetool.cli.output import CommandResult, ErrorHandlingGroup, verb, verb_with_request
from eetool.errors import ArtefactError


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands with their names, `table build` and the like included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def options() -> list[Any]:
    found = []
    for name, command in commands():
        for option in command.params:
            if isinstance(option, click.Option):
                found.append(pytest.param(option, id=f"{name} {option.opts[0]}"))
    return found


def test_help_lists_every_verb_with_summary(cli: Any) -> None:
    result = cli("--help")
    assert result.code == 0
    for name, summary in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}", result.stdout, re.MULTILINE), name


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_verb_help_prints_usage(cli: Any, name: str) -> None:
    result = cli(*name.split(), "--help")
    assert result.code == 0
    assert f"Usage: eetool {name}" in result.stdout or f" {name} [OPTIONS]" in result.stdout
    assert "--json / --no-json" in result.stdout


@pytest.mark.parametrize("option", options())
def test_option_names_are_kebab_case(option: click.Option) -> None:
    names = [*option.opts, *option.secondary_opts]
    assert all(re.fullmatch(r"--[a-z]+(-[a-z]+)*|-[a-z]", name) for name in names), names
    assert any(name.startswith("--") for name in names)


@pytest.mark.parametrize("option", options())
def test_switch_has_a_no_form(option: click.Option) -> None:
    if option.is_flag:
        (on,) = [name for name in option.opts if name.startswith("--")]
        assert option.secondary_opts == [f"--no-{on.removeprefix('--')}"]


def test_version_is_that_of_the_package(cli: Any) -> None:
    assert cli("--version").stdout.strip().endswith(__version__)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frobnicate"], ["train", "--frobnicate"], ["train"], []])
def test_unknown_words_are_usage_errors(cli: Any, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert result.stdout == ""
    assert result.stderr


def test_error_document_names_command_wherever_json_stands(cli: Any) -> None:
    for arguments in (["verify", "nowhere", "--json"], ["verify", "--json", "nowhere"]):
        assert cli(*arguments).document["command"] == "verify"
    assert cli("frobnicate", "--json").document["error"]["message"] == "No such command 'frobnicate'."
    assert cli("--json").document["command"] is None


def test_documents_of_subcommand_name_its_group(cli: Any) -> None:
    assert cli("table", "show", "nowhere", "--json").document["command"] == "table show"
    assert cli("table", "show", "rpi4", "--json").document["command"] == "table show"
    assert cli("table", "frobnicate", "--json").document["command"] == "table frobnicate"


def test_verb_with_request_fills_record_from_options() -> None:
    @dataclass(frozen=True)
    class Request:
        number: int
        words: tuple[str, ...]

    @verb_with_request(Request)
    @click.option("--number", type=int, default=3)
    @click.option("--word", "words", multiple=True)
    def act(request: Request) -> CommandResult:
        return CommandResult("act/1", {"request": request}, [])

    group = Small("small")
    group.add_command(act)
    result = click.testing.CliRunner().invoke(group, ["act", "--word", "a", "--json"])
    assert json.loads(result.stdout)["request"] == {"number": 3, "words": ["a"]}


class Small(ErrorHandlingGroup):
    """Group with one verb, which returns or raises a given outcome."""


def small(outcome: Any) -> Small:
    @verb
    @click.option("--flag/--no-flag", default=False)
    def act(flag: bool) -> CommandResult:
        """Act."""
        if isinstance(outcome, BaseException):
            raise outcome
        return CommandResult("act/1", outcome, ["first line", "[bold]not markup[/bold]"])

    group = Small("small")
    group.add_command(act)
    return group


def run_small(outcome: Any, *arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(small(outcome), ["act", *arguments])


def test_verb_prints_text_or_one_document() -> None:
    assert run_small({"n": 1}).stdout == "first line\n[bold]not markup[/bold]\n"
    document = json.loads(run_small({"n": 1}, "--json").stdout)
    assert document == {"eetool": __version__, "command": "act", "schema": "act/1", "ok": True, "n": 1}


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        (ArtefactError("it broke", "mend it"), 3, "it broke"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("surprise"), 1, "unexpected RuntimeError: surprise"),
        (click.Abort(), 130, "interrupted"),
    ],
)
def test_verb_error_becomes_message_document_and_code(outcome: BaseException, code: int, words: str) -> None:
    result, returned = run_small(outcome), run_small(outcome, "--json")
    assert (result.exit_code, returned.exit_code) == (code, code)
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(returned.stdout)["error"]["message"] == words


def test_unexpected_error_prints_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EETOOL_TRACEBACK", "1")
    assert "Traceback" in run_small(RuntimeError("surprise")).stderr
    assert "Traceback" not in run_small(ArtefactError("your file")).stderr


HEAVY = {"torch", "onnx", "onnxruntime", "onnxsim", "sklearn", "scipy", "PIL", "rich"}


def loaded_by(*calls: list[str]) -> set[str]:
    """Heavy packages that are loaded after these calls of the command in a fresh process."""
    program = f"""
import sys
from eetool.cli.app import main
for arguments in {calls!r}:
    try:
        main(arguments)
    except SystemExit as exit:
        assert exit.code == 0, arguments
print(*({HEAVY!r} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_imports_no_heavy_package() -> None:
    assert loaded_by(["--help"], *([name, "--help"] for name in VERBS)) == set()


def test_bundle_commands_import_no_torch(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 32, 32), np.float32))
    calls = [["inspect", str(bundle)], ["verify", str(bundle)], ["run", str(bundle), str(tmp_path / "x.npy")]]
    assert "torch" not in loaded_by(*calls)


def test_python_m_eetool_runs_the_command(cli: Any) -> None:
    done = subprocess.run([sys.executable, "-m", "eetool", "verify", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 3
    assert (done.stdout, done.stderr) == ("", cli("verify", "nowhere").stderr)


def test_progress_shows_bar_on_terminal_only(tmp_path: Path) -> None:
    program = """
from eetool.cli.progress_bars import TerminalProgress
with TerminalProgress()("training", 3) as advance:
    advance(2)
TerminalProgress().note("a word")
"""
    ours, theirs = os.openpty()
    with (tmp_path / "log").open("wb") as log:
        for stderr in (theirs, log):
            environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
            subprocess.run([sys.executable, "-c", program], check=True, stderr=stderr, env=environment)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "training" in shown
    assert "2/3" in shown
    assert re.search(r"\d/s", shown)
    assert "a word" in shown
    assert (tmp_path / "log").read_text() == "a word\n"
