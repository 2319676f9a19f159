"""Runs `python -m eetool_runtime.measure` in a process of its own: a process can set its thread pool only once."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from eetool.errors import ArtefactError, EarlyExitError, MissingError, UsageError
from eetool_runtime.records import decode, parse_json

T = TypeVar("T")

_ERRORS: dict[int, type[EarlyExitError]] = {2: UsageError, 3: ArtefactError, 5: MissingError}


def run_measure(kind: type[T], path: Path, options: Mapping[str, object]) -> T:
    """Measure `path` and read the document of type `kind` that comes out.

    Raises:
        EarlyExitError: the child could not measure; the class says whose fault it is.
    """
    words = [str(word) for pair in options.items() for word in pair]
    # -P: a file of the user's folder that is named like a module must not be imported in its place.
    command = [sys.executable, "-P", "-m", "eetool_runtime.measure", str(path.absolute()), *words]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise _failure(child.returncode, child.stderr, options)

    def refuse(reason: str) -> EarlyExitError:
        return EarlyExitError(f"the measuring process said something unexpected: {reason}")

    return decode(kind, parse_json(child.stdout, refuse), refuse)


def _failure(code: int, stderr: str, options: Mapping[str, object]) -> EarlyExitError:
    said = [line.strip() for line in stderr.splitlines() if line.strip()] or [f"the process ended with {code}"]
    if code in _ERRORS and said[0].startswith("error: "):
        return _ERRORS[code](said[0].removeprefix("error: "), said[1] if len(said) > 1 else None)
    return EarlyExitError(f"measuring with {options['--threads']} threads failed: {said[-1]}")
