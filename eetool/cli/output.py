"""Output shared by all verbs: results on stdout, everything else on stderr, errors as messages with exit codes.

Heavy packages are imported where they are used: `eetool --help` and shell completion must not wait.
"""

import errno
import functools
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eetool import __version__
from eetool.cli.near_misses import SuggestingGroup, suggest_choices, usage_hint, usage_message
from eetool.cli.repeated_command import remember_arguments
from eetool.cli.streams import LostOutputError, legible, prepare

if TYPE_CHECKING:
    from eetool.errors import EarlyExitError

R = TypeVar("R")

INTERRUPTED = 130
READER_GONE = 141  # as a shell reports a program that SIGPIPE ended: `eetool devices | head -1`
_UNLIMITED = 100_000  # columns
_LOUDNESS = "eetool.loudness"
# Errors of the file system are not faults of eetool: exit code 3 for inputs, 2 for outputs.
_FILE_SYSTEM_ERRORS = {
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EIO), 3),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG), 2),
}
QUIET, NORMAL, VERBOSE = -1, 0, 1


@dataclass(frozen=True)
class CommandResult:
    """Result of a verb: a document for programs, lines or rich tables for people.

    Attributes:
        schema: id of the document's JSON schema, such as `bench/1`.
        document: fields of the document, without the envelope.
        text: lines and rich tables.
        problem: an error that is reported after the result and sets the exit code.
    """

    schema: str
    document: Mapping[str, Any]
    text: Sequence[Any]
    problem: "EarlyExitError | None" = None


class Command(click.Command):
    """Command whose help is readable on every terminal, and whose choices suggest the nearest."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        suggest_choices(self.params)

    def get_help(self, ctx: click.Context) -> str:
        return legible(super().get_help(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        remember_arguments(ctx, args)
        return super().parse_args(ctx, args)


class ErrorHandlingGroup(Command, SuggestingGroup):
    """Group that turns every error into an exit code and a message, or a document with --json."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        prepare()
        argv = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            code = self._run(argv, *rest, **extra)
            sys.stdout.flush()
        except LostOutputError as lost:
            code = _report_lost(lost.error)
        sys.exit(code if isinstance(code, int) else 0)

    def _run(self, argv: list[str], *rest: Any, **extra: Any) -> Any:
        try:
            if any(not word.startswith("-") for word in argv):  # arguments are paths
                _check_folder()
            return super().main(argv, *rest, **extra)
        except LostOutputError:
            raise
        except Exception as error:
            loud = bool({"--verbose", "-v"} & set(argv))
            return _report(error, "--json" in argv, self._command_name(argv), loud)
        except KeyboardInterrupt:
            say("interrupted")
            return INTERRUPTED

    def _command_name(self, argv: list[str]) -> str | None:
        """Return the name of the command in `argv`, such as `train` or `table build`."""
        names: list[str] = []
        group: click.Group = self
        for word in (word for word in argv if not word.startswith("-")):
            names.append(word)
            try:
                command = group.get_command(click.Context(group), word)
            except Exception:  # the command itself cannot be imported, which is the error to report
                break
            if not isinstance(command, click.Group):
                break
            group = command
        return " ".join(names) or None


def verb(function: Callable[..., CommandResult]) -> click.Command:
    """Return a click command that calls `function` with its options and prints the result.

    The command has the name and docstring of `function` and the options that all verbs share.
    """
    name = function.__name__

    @click.option("--json/--no-json", "as_json", default=False, help="Print one JSON document.")
    @click.option("-q", "--quiet/--no-quiet", default=False, help="Print errors only, no progress and no notes.")
    @click.option("-v", "--verbose/--no-verbose", default=False, help="Print the time that each step took.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, quiet: bool, verbose: bool, **kwargs: Any) -> None:
        if quiet and verbose:
            raise click.UsageError("--quiet or --verbose, not both")
        context = click.get_current_context()
        context.meta[_LOUDNESS] = QUIET if quiet else VERBOSE if verbose else NORMAL
        logging.getLogger("eetool_runtime").setLevel(logging.ERROR if quiet else logging.NOTSET)
        with redirect_stdout(sys.stderr):  # code of the user may print, and stdout holds the result alone
            result = function(*args, **kwargs)
        if as_json:
            from eetool.records import canonical

            _print_json(canonical(envelope(result)))
        else:
            print_lines(result.text)
        if result.problem is not None:
            code = result.problem.exit_code if as_json else _report(result.problem, as_json=False, command=None)
            context.exit(code)

    return click.command(name, cls=Command)(run)


def verb_with_request(request: Callable[..., R]) -> Callable[[Callable[[R], CommandResult]], click.Command]:
    """Return a decorator like `verb` for a function that takes all options as one `request` record."""

    def decorate(function: Callable[[R], CommandResult]) -> click.Command:
        @functools.wraps(function)
        def call(**options: Any) -> CommandResult:
            return function(request(**options))

        return verb(call)

    return decorate


def loudness() -> int:
    """Return QUIET, NORMAL or VERBOSE, as the options of the running command ask for."""
    context = click.get_current_context(silent=True)
    level: int = NORMAL if context is None else context.meta.get(_LOUDNESS, NORMAL)
    return level


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        from eetool.errors import UsageError

        raise UsageError(f"the working folder: {error.strerror}", "Change to a folder that exists.") from None


def envelope(result: CommandResult) -> dict[str, Any]:
    """Return the document of `result` as `--json` prints it and `-o` writes it."""
    from eetool.records import encode

    problem = result.problem
    head = {"eetool": __version__, "command": _running_command(), "schema": result.schema, "ok": problem is None}
    error = {} if problem is None else {"error": _error(*_explain(problem))}
    return {**head, **error, **encode(result.document)}


def _running_command() -> str:
    """Return the names of the running command and its groups, without that of the program."""
    names: list[str] = []
    context: click.Context | None = click.get_current_context()
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(names)


def write_result(path: Path, result: CommandResult, force: bool) -> None:
    """Write the document of `result` to `path` and say so, which every `-o` of a document does."""
    from eetool.records import canonical, write_atomic

    write_atomic(path, canonical(envelope(result)).encode(), force)
    if loudness() > QUIET:
        say(f"wrote {path}")


def say(line: str) -> None:
    """Print a line on stderr."""
    click.echo(legible(line, sys.stderr), file=sys.stderr)  # not err=True, which writes through a progress bar


def print_lines(text: Sequence[Any]) -> None:
    """Print lines and rich tables on stdout."""
    from rich.console import Console

    # Without a terminal there is no width at which lines are cut.
    width = None if sys.stdout.isatty() else _UNLIMITED
    console = Console(highlight=False, width=width)
    for item in text:
        console.print(legible(item), markup=False) if isinstance(item, str) else console.print(item)


def table(columns: Mapping[str, str], rows: Sequence[Sequence[str]], tight: bool = False) -> Any:
    """Return a rich table; `columns` maps each heading to its justification, and `tight` leaves one space between."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if tight else 1, 0, 0))
    for heading, justify in columns.items():
        result.add_column(legible(heading), justify=justify)  # type: ignore[arg-type]
    for row in rows:
        result.add_row(*(Text(legible(cell)) for cell in row))  # [brackets] are text, not markup
    return result


def _report(error: Exception, as_json: bool, command: str | None, loud: bool = False) -> int:
    code, message, hint = _explain(error, loud)
    if as_json:
        document = {"eetool": __version__, "command": command, "ok": False}
        _print_json(json.dumps({**document, "error": _error(code, message, hint)}, indent=2) + "\n")
        return code
    say(f"error: {message}")
    if hint:
        say(f"       {hint}")
    return code


def _report_lost(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return READER_GONE
    reason = "it is closed" if error.errno == errno.EBADF else error.strerror
    say(f"error: standard output cannot be written: {reason}")
    return 2


def _print_json(text: str) -> None:
    """Print a document, with JSON escapes for characters that the encoding of stdout lacks."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=2) + "\n"
    click.echo(text, nl=False)


def _error(code: int, message: str, hint: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint}


def _explain(error: Exception, loud: bool = False) -> tuple[int, str, str | None]:
    """Return exit code, message and hint of any exception."""
    from eetool.errors import EarlyExitError

    if isinstance(error, EarlyExitError):
        if loud and error.__cause__ is not None:  # an error of a library or of the user's code
            say("".join(traceback.format_exception(error.__cause__)).rstrip())
        return error.exit_code, error.message, error.hint
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return 2, error.format_message(), None
    if isinstance(error, click.UsageError):
        return 2, usage_message(error), usage_hint(error)
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message(), None
    if isinstance(error, click.Abort):
        return INTERRUPTED, "interrupted", None
    if isinstance(error, OSError) and error.filename is not None and error.errno in _FILE_SYSTEM_ERRORS:
        return _FILE_SYSTEM_ERRORS[error.errno], f"{os.fsdecode(error.filename)}: {error.strerror}", None
    if loud or os.environ.get("EETOOL_TRACEBACK"):
        say(traceback.format_exc().rstrip())
    hint = "This is a fault of eetool, not yours. --verbose shows where it happened; please report it."
    return 1, f"unexpected {type(error).__name__}: {error}", hint
