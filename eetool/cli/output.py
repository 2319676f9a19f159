"""What all verbs share: answers on stdout, everything else on stderr, errors as messages with exit codes.

Nothing heavy is imported before it is needed: `eetool --help` and shell completion must not wait.
"""

import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from eetool import __version__
from eetool.cli.streams import LostOutput, legible, prepare

if TYPE_CHECKING:
    from eetool.errors import EarlyExitError
    from eetool.progress import Advance

INTERRUPTED = 130
READER_GONE = 141  # as a shell reports a program that SIGPIPE ended: `eetool devices | head -1`
_UNLIMITED = 100_000  # columns
_LOUDNESS = "eetool.loudness"
# What a file or a disk refuses is no fault of eetool: 3 for what was to be read, 2 for what was to be written.
_OF_THE_PLACE = {
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EIO), 3),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG), 2),
}
QUIET, NORMAL, VERBOSE = -1, 0, 1


@dataclass(frozen=True)
class CommandResult:
    """What a verb has to say: a document for programs, and lines or rich tables for people.

    With a `problem` the answer is given all the same; the error follows, and so does its exit code.
    """

    schema: str
    document: Mapping[str, Any]
    text: Sequence[Any]
    problem: "EarlyExitError | None" = None


class Command(click.Command):
    """A command whose help can be read on every terminal."""

    def get_help(self, ctx: click.Context) -> str:
        return legible(super().get_help(ctx))


class ErrorHandlingGroup(Command, click.Group):
    """A group that turns every error into a message, or with --json into a document, and an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        prepare()
        argv = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            code = self._run(argv, *rest, **extra)
            sys.stdout.flush()
        except LostOutput as lost:
            code = _report_lost(lost.error)
        sys.exit(code if isinstance(code, int) else 0)

    def _run(self, argv: list[str], *rest: Any, **extra: Any) -> Any:
        try:
            return super().main(argv, *rest, **extra)
        except LostOutput:
            raise
        except Exception as error:
            command = next((a for a in argv if not a.startswith("-")), None)
            loud = bool({"--verbose", "-v"} & set(argv))
            return _report(error, "--json" in argv, command, loud)
        except KeyboardInterrupt:
            say("interrupted")
            return INTERRUPTED


def verb(function: Callable[..., CommandResult]) -> click.Command:
    """Make a click command of `function`: its name, its docstring, what all verbs take, the printing of its answer."""
    name = function.__name__

    @click.option("--json/--no-json", "as_json", default=False, help="Print one JSON document.")
    @click.option("-q", "--quiet/--no-quiet", default=False, help="No progress and no notes; errors only.")
    @click.option("-v", "--verbose/--no-verbose", default=False, help="Say how long each step took.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, quiet: bool, verbose: bool, **kwargs: Any) -> None:
        if quiet and verbose:
            raise click.UsageError("--quiet or --verbose, not both")
        _check_folder()
        context = click.get_current_context()
        context.meta[_LOUDNESS] = QUIET if quiet else VERBOSE if verbose else NORMAL
        answer = function(*args, **kwargs)
        if as_json:
            from eetool.records import canonical

            _print_json(canonical(envelope(name, answer)))
        else:
            print_lines(answer.text)
        if answer.problem is not None:
            code = answer.problem.exit_code if as_json else _report(answer.problem, as_json=False, command=name)
            context.exit(code)

    return click.command(name, cls=Command)(run)


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        from eetool.errors import UsageError

        raise UsageError(f"the working folder: {error.strerror}", "Change to a folder that exists.") from None


def envelope(command: str, answer: CommandResult) -> dict[str, Any]:
    """The document of an answer as `--json` prints it and `-o` writes it."""
    from eetool.records import encode

    problem = answer.problem
    head = {"eetool": __version__, "command": command, "schema": answer.schema, "ok": problem is None}
    error = {} if problem is None else {"error": _error(*_explain(problem))}
    return {**head, **error, **encode(answer.document)}


def write_result(path: Path, command: str, answer: CommandResult, force: bool) -> None:
    """Write the document of an answer to `path`."""
    from eetool.records import canonical, write_atomic

    write_atomic(path, canonical(envelope(command, answer)).encode(), force)


def say(line: str) -> None:
    """Print a line on stderr."""
    click.echo(legible(line, sys.stderr), err=True)


def print_lines(text: Sequence[Any]) -> None:
    """Print lines and rich tables on stdout."""
    from rich.console import Console

    # Where no terminal sets a width, nothing is cut off.
    width = None if sys.stdout.isatty() else _UNLIMITED
    console = Console(highlight=False, width=width)
    for item in text:
        console.print(legible(item), markup=False) if isinstance(item, str) else console.print(item)


def table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> Any:
    """A rich table; `columns` maps each heading to its justification."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, justify in columns.items():
        made.add_column(legible(heading), justify=justify)  # type: ignore[arg-type]
    for row in rows:
        made.add_row(*(Text(legible(cell)) for cell in row))  # [brackets] are no markup here
    return made


class TerminalProgress:
    """Bars with the time left on a terminal; elsewhere nothing but notes. Everything goes to stderr.

    --quiet silences both; --verbose adds a line with the time that each block of work took.
    """

    def __init__(self) -> None:
        context = click.get_current_context(silent=True)
        self._loudness: int = context.meta.get(_LOUDNESS, NORMAL) if context is not None else NORMAL

    @contextmanager
    def __call__(self, what: str, total: int) -> "Iterator[Advance]":
        begin = monotonic()
        with self._bar(what, total) as advance:
            yield advance
        if self._loudness == VERBOSE:
            say(f"{what}: {total} in {monotonic() - begin:.1f} s")

    @contextmanager
    def _bar(self, what: str, total: int) -> "Iterator[Advance]":
        if self._loudness == QUIET or not sys.stderr.isatty():
            yield lambda steps: None
            return
        from rich import progress
        from rich.markup import escape

        columns = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        ]
        console = progress.Console(stderr=True)  # type: ignore[attr-defined]
        with progress.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(escape(legible(what, sys.stderr)), total=total)
            yield lambda steps: bar.advance(task, steps)

    def note(self, line: str) -> None:
        if self._loudness != QUIET:
            say(line)


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
    """Print a document; where stdout has not all of its characters, with JSON's escapes for them."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=2) + "\n"
    click.echo(text, nl=False)


def _error(code: int, message: str, hint: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint}


def _explain(error: Exception, loud: bool = False) -> tuple[int, str, str | None]:
    """Exit code, message and hint of any exception."""
    from eetool.errors import EarlyExitError

    if isinstance(error, EarlyExitError):
        return error.exit_code, error.message, error.hint
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return 2, error.format_message(), None
    if isinstance(error, click.UsageError):
        help_line = f"Try '{error.ctx.command_path} --help'." if error.ctx else None
        return 2, error.format_message(), help_line
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message(), None
    if isinstance(error, click.Abort):
        return INTERRUPTED, "interrupted", None
    if isinstance(error, OSError) and error.filename is not None and error.errno in _OF_THE_PLACE:
        return _OF_THE_PLACE[error.errno], f"{os.fsdecode(error.filename)}: {error.strerror}", None
    if loud or os.environ.get("EETOOL_TRACEBACK"):
        say(traceback.format_exc().rstrip())
    hint = "This is a fault of eetool, not yours. --verbose shows where it happened; please report it."
    return 1, f"unexpected {type(error).__name__}: {error}", hint
