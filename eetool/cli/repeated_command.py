"""The running command as it was typed, with some options changed: for messages that say what to type next."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

import click

_TYPED = "eetool.typed"  # key of the arguments in the context's `meta`


def remember_arguments(context: click.Context, arguments: Sequence[str]) -> None:
    """Keep the arguments of a command before they are parsed."""
    context.meta[_TYPED] = tuple(arguments)


def repeated_command(changed: Mapping[str, str], flags: Sequence[str] = ()) -> str:
    """Return the running command with all its arguments, in the words of a shell.

    Args:
        changed: new values of options, by their full names, such as `{"--max-accuracy-drop": "2"}`.
        flags: flags to add where they are missing, such as `--force`.
    """
    context = click.get_current_context()
    kept = list(_without(context.meta[_TYPED], changed, context.command))
    missing = [flag for flag in flags if flag not in kept]
    ends = [word for name, value in changed.items() for word in (name, value)]
    at = kept.index("--") if "--" in kept else len(kept)
    return shlex.join(["eetool", *_names(context), *kept[:at], *missing, *ends, *kept[at:]])


def _names(context: click.Context | None) -> list[str]:
    """Return the names of the command and of the groups around it, without that of the program."""
    if context is None or context.parent is None:
        return []
    return [*_names(context.parent), str(context.info_name)]


def _without(arguments: Sequence[str], names: Mapping[str, str], command: click.Command) -> Iterator[str]:
    """Yield the arguments without options of these names and their values."""
    gone = {name for option in command.params for name in option.opts if set(option.opts) & set(names)}
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in gone:
            yield word
        elif not equals:
            next(words, None)
