"""Child processes that report progress: each line `eetool-progress N` of their standard error is N steps."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO, Any

from eetool.progress import Advance

_LINE = re.compile(r"(.*)eetool-progress (\d+)\s*", re.DOTALL)


def progress_line(steps: int) -> str:
    """Return the line that a child writes to its standard error after `steps` steps."""
    return f"eetool-progress {steps}\n"


def run_reporting(
    command: Sequence[str], advance: Advance, stdin: IO[Any] | int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as `subprocess.run` does with captured output, and pass on its progress while it runs.

    Args:
        command: words of the command.
        advance: receives the steps of every report.
        stdin: standard input; by default that of this process.

    Returns:
        Exit code and output; reports are left out of the error output.
    """
    errors = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        child = subprocess.Popen(
            command, stdin=stdin, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        with child:
            assert child.stderr is not None
            try:
                for line in child.stderr:
                    report = _LINE.fullmatch(line)
                    if report is None:
                        errors.append(line)
                        continue
                    errors.append(report[1])  # of a line that something else began
                    advance(int(report[2]))
                code = child.wait()
            except BaseException:
                child.kill()
                raise
        output.seek(0)
        return subprocess.CompletedProcess(list(command), code, output.read(), "".join(errors))
