"""Commands that messages print: all arguments that the user gave, with some changed."""

import click
import pytest

from eetool.cli.output import CommandResult, verb
from eetool.cli.repeated_command import repeated_command


def printed(*arguments: str) -> str:
    shown = []

    @click.argument("model")
    @click.option("--model", "named", multiple=True)
    @click.option("-d", "--drop", default="1")
    @click.option("--force/--no-force", default=False)
    def tune(**options: object) -> CommandResult:
        shown.append(repeated_command({"--drop": "2"}, ("--force",)))
        return CommandResult("x/1", {}, [])

    command = verb(tune)
    group = click.Group("anything", commands={"tune": command})
    group.main(list(arguments), standalone_mode=False)
    return shown[0]


@pytest.mark.parametrize(
    ("typed", "repeated"),
    [
        ("tune m.pt", "eetool tune m.pt --force --drop 2"),
        (
            "tune m.pt --model a:b --force -d 0.5 --model=c:d",
            "eetool tune m.pt --model a:b --force --model=c:d --drop 2",
        ),
        ("tune --drop=0.5 -- -odd.pt", "eetool tune --force --drop 2 -- -odd.pt"),
    ],
)
def test_repeated_command_keeps_all_arguments_but_the_changed_ones(typed: str, repeated: str) -> None:
    assert printed(*typed.split()) == repeated


def test_repeated_command_quotes_what_a_shell_would_split() -> None:
    assert printed("tune", "my model.pt") == "eetool tune 'my model.pt' --force --drop 2"
