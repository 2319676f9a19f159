"""Writer of docs/cli.md, the reference of all commands, from the output of `--help`.

python tools/write_cli_reference.py
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from eetool.cli.app import VERBS, cli

PAGE = Path(__file__).parents[1] / "docs/cli.md"
_WIDTH = 80
_HEAD = """# Commands

This page is the output of `--help`, written by `python tools/write_cli_reference.py`; a test compares the two.

Results go to stdout, everything else to stderr. `--json` prints one document. Nothing is overwritten without `--force`.
"""


def text() -> str:
    """Return the text of the page."""
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    top = click.Context(cli, info_name="eetool", terminal_width=_WIDTH, **cli.context_settings)
    yield f"\n## eetool\n\n```text\n{cli.get_help(top)}\n```\n"
    for name in VERBS:
        yield from _command_sections(name, cli, top)


def _command_sections(name: str, group: click.Group, parent: click.Context) -> Iterator[str]:
    """The help of a command and, where it is a group, of its commands."""
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent, terminal_width=_WIDTH)
    yield f"\n## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command_sections(inner, command, context)


def main() -> int:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
