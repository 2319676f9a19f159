"""Options that messages name, compared with those that the commands have."""

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from eetool.cli.app import cli

ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^ *from (eetool[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def leaf_commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its name, such as `table build`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaf_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@functools.cache
def options_by_command() -> dict[str, set[str]]:
    """Return the long options of every command."""
    found = {}
    for name, command in leaf_commands():
        found[name] = {o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)}
    return found


def foreign_options(hint: str, arguments: Sequence[str]) -> list[str]:
    """Return options in `hint` that neither the command that ran has, nor a command that the hint names."""
    running = " ".join(word for word in arguments if not word.startswith("-"))
    usable = {"--help"}.union(*(o for name, o in options_by_command().items() if f"{running} ".startswith(f"{name} ")))
    return sorted(set(OPTION.findall(hint)) - usable - options_of_commands_in(hint))


def options_of_commands_in(text: str) -> set[str]:
    """Return the options of the commands whose names are words of `text`."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return set().union(*(o for name, o in options_by_command().items() if set(name.split()) <= words))


def texts_with_options(source: str) -> list[str]:
    """Return the strings of a module that name options, without its docstrings."""
    if "--" not in source:
        return []
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and _starts_with_text(n.body)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [str(text.value) for text in texts if id(text) not in docs and OPTION.search(str(text.value))]


def _starts_with_text(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


def modules_of_commands(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return, for each file of `eetool/cli/commands`, all files that it imports, directly or not.

    Args:
        sources: texts by path from the root of the repository.
    """
    paths = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    imports = {path: _imported(source, paths) for path, source in sources.items()}
    reached = {}
    for command in (path for path in sources if path.startswith("eetool/cli/commands/")):
        found, waiting = set[str](), [command]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting.extend(imports[path])
        reached[command] = found
    return reached


def _imported(source: str, paths: Mapping[str, str]) -> set[str]:
    names = set[str]()
    for module, items in _IMPORT.findall(source):
        names |= {module, *(f"{module}.{item}" for item in re.findall(r"\w+", items))}
    return {paths[name] for name in names if name in paths}
