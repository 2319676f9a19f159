"""Interface of the measuring process `python -m eetool_measure`: its options, its document and its errors."""

from collections.abc import Mapping
from typing import TypeVar

from eetool.errors import ArtefactError, EarlyExitError, MissingError, UsageError
from eetool.profile.protocol import MeasurementProtocol
from eetool_runtime.records import decode, parse_json

T = TypeVar("T")

_ERRORS: dict[int, type[EarlyExitError]] = {2: UsageError, 3: ArtefactError, 5: MissingError}


def measure_options(variant: str, threads: int, protocol: MeasurementProtocol, pool: str) -> dict[str, object]:
    """Return the options of `python -m eetool_measure BUNDLE`."""
    options: dict[str, object] = {
        "--variant": variant,
        "--threads": threads,
        "--pool": pool,
        "--runs": protocol.runs,
        "--min-seconds": protocol.min_seconds,
        "--seed": protocol.seed,
        "--picture": "x".join(map(str, protocol.picture)),
    }
    return options if protocol.sustained_s is None else {**options, "--sustained-seconds": protocol.sustained_s}


def option_words(options: Mapping[str, object]) -> list[str]:
    """Return options as the words of a command line."""
    return [str(word) for pair in options.items() for word in pair]


def read_document(kind: type[T], text: str) -> T:
    """Parse the document that a measuring process printed.

    Args:
        kind: type of the document.
        text: standard output of the process.

    Raises:
        EarlyExitError: the output is not such a document.
    """

    def refuse(reason: str) -> EarlyExitError:
        return EarlyExitError(f"the measuring process printed an unexpected document: {reason}")

    return decode(kind, parse_json(text, refuse), refuse)


def child_error(code: int, stderr: str, activity: str) -> EarlyExitError:
    """Return the error of a failed measuring process.

    Args:
        code: exit code of the process.
        stderr: its error output: `error: …`, then a hint.
        activity: what it was doing, for the message.

    Returns:
        The error, of the class that belongs to the exit code.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    own = next((i for i, line in enumerate(lines) if line.startswith("error: ")), None)
    if code in _ERRORS and own is not None:
        hint = lines[own + 1] if len(lines) > own + 1 else None
        return _ERRORS[code](lines[own].removeprefix("error: "), hint)
    return EarlyExitError(f"{activity} failed: {lines[-1] if lines else f'the process ended with {code}'}")
