"""`eetool completion`."""

import click
from click.shell_completion import get_completion_class

from eetool.cli.output import CommandResult, verb

_VARIABLE = "_EETOOL_COMPLETE"


@verb
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> CommandResult:
    """Print the completion script of SHELL: verbs, options, devices, bundles.

    Write it to the file that the shell reads: for bash ~/.local/share/bash-completion/completions/eetool, for zsh
    _eetool in a folder of $fpath, for fish ~/.config/fish/completions/eetool.fish.
    """
    from eetool.cli.app import cli

    completion_class = get_completion_class(shell)
    assert completion_class is not None  # click has these three
    script = completion_class(cli, {}, "eetool", _VARIABLE).source()
    return CommandResult("completion/1", {"shell": shell, "script": script}, [script])


command = completion
