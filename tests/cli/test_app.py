"""The command as a whole: its verbs, their options, what it loads, how it fails."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from eetool import __version__
from eetool.cli.app import VERBS, cli
from eetool.cli.output import CommandResult, ErrorHandlingGroup, verb
from eetool.errors import ArtefactError


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command


def options() -> list[Any]:
    found = []
    for name, command in commands():
        for option in command.params:
            if isinstance(option, click.Option):
                found.append(pytest.param(option, id=f"{name} {option.opts[0]}"))
    return found


def test_help_lists_every_verb_with_what_it_does(cli: Any) -> None:
    answered = cli("--help")
    assert answered.code == 0
    for name, summary in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}", answered.stdout, re.MULTILINE), name


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help(cli: Any, name: str) -> None:
    answered = cli(name, "--help")
    assert answered.code == 0
    assert f"Usage: eetool {name}" in answered.stdout or f" {name} [OPTIONS]" in answered.stdout
    assert "--json / --no-json" in answered.stdout


@pytest.mark.parametrize("option", options())
def test_options_are_in_kebab_case_and_say_what_they_are_for(option: click.Option) -> None:
    names = [*option.opts, *option.secondary_opts]
    assert all(re.fullmatch(r"--[a-z]+(-[a-z]+)*|-[a-z]", name) for name in names), names
    assert any(name.startswith("--") for name in names)


@pytest.mark.parametrize("option", options())
def test_every_switch_can_be_turned_off(option: click.Option) -> None:
    if option.is_flag:
        (on,) = [name for name in option.opts if name.startswith("--")]
        assert option.secondary_opts == [f"--no-{on.removeprefix('--')}"]


def test_the_version_is_that_of_the_package(cli: Any) -> None:
    assert cli("--version").stdout.strip().endswith(__version__)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frobnicate"], ["train", "--frobnicate"], ["train"], []])
def test_other_words_are_a_usage_error(cli: Any, arguments: list[str]) -> None:
    answered = cli(*arguments)
    assert answered.code == 2
    assert answered.stdout == ""
    assert answered.stderr


def test_the_failing_command_is_named_wherever_json_stands(cli: Any) -> None:
    for arguments in (["verify", "nowhere", "--json"], ["verify", "--json", "nowhere"]):
        assert cli(*arguments).document["command"] == "verify"
    assert cli("frobnicate", "--json").document["error"]["message"] == "No such command 'frobnicate'."
    assert cli("--json").document["command"] is None


class Small(ErrorHandlingGroup):
    """A group with one verb that does as it is told."""


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


def test_an_answer_is_text_for_people_and_one_document_for_programs() -> None:
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
def test_errors_become_messages_documents_and_codes(outcome: BaseException, code: int, words: str) -> None:
    told, returned = run_small(outcome), run_small(outcome, "--json")
    assert (told.exit_code, returned.exit_code) == (code, code)
    assert words in told.stderr
    assert "Traceback" not in told.stderr
    assert json.loads(returned.stdout)["error"]["message"] == words


def test_a_fault_of_ours_shows_where_it_happened_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EETOOL_TRACEBACK", "1")
    assert "Traceback" in run_small(RuntimeError("surprise")).stderr
    assert "Traceback" not in run_small(ArtefactError("your file")).stderr


HEAVY = {"torch", "onnx", "onnxruntime", "onnxsim", "sklearn", "scipy", "PIL", "rich"}


def loaded_by(*calls: list[str]) -> set[str]:
    """Heavy packages that are loaded after these calls of the command in a fresh process."""
    program = f"""
import sys
from eetool.cli import main
for arguments in {calls!r}:
    try:
        main(arguments)
    except SystemExit as exit:
        assert exit.code == 0, arguments
print(*({HEAVY!r} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by(["--help"], *([name, "--help"] for name in VERBS)) == set()


def test_a_bundle_is_inspected_verified_and_run_without_torch(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 32, 32), np.float32))
    calls = [["inspect", str(bundle)], ["verify", str(bundle)], ["run", str(bundle), str(tmp_path / "x.npy")]]
    assert "torch" not in loaded_by(*calls)


def test_python_m_eetool_is_the_command(cli: Any) -> None:
    done = subprocess.run([sys.executable, "-m", "eetool", "verify", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 3
    assert (done.stdout, done.stderr) == ("", cli("verify", "nowhere").stderr)


def test_a_terminal_gets_a_bar_and_a_log_file_gets_none(tmp_path: Path) -> None:
    program = """
from eetool.cli.output import TerminalProgress
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
    assert "a word" in shown
    assert (tmp_path / "log").read_text() == "a word\n"
