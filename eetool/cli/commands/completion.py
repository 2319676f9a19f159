"""`eetool completion`."""

import click
from click.shell_completion import get_completion_class

from eetool.cli.output import CommandResult, verb

_VARIABLE = "_EETOOL_COMPLETE"


@verb
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> CommandResult:
    """Print the completion script of SHELL: verbs, options, devices, bundles.

    Put it where the shell looks: for bash into ~/.local/share/bash-completion/completions/eetool, for zsh as _eetool
    into a folder of $fpath, for fish into ~/.config/fish/completions/eetool.fish.
    """
    from eetool.cli.app import cli

    made = get_completion_class(shell)
    assert made is not None  # click knows these three
    script = made(cli, {}, "eetool", _VARIABLE).source()
    return CommandResult("completion/1", {"shell": shell, "script": script}, [script])


command = completion
