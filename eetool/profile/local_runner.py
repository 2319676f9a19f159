"""Runs `python -m eetool_measure` in a process of its own: a process can set its thread pool only once."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol as Interface
from typing import TypeVar

from eetool.errors import ArtefactError, EarlyExitError, MissingError, UsageError
from eetool.profile.protocol import NO_POWER, MeasurementProtocol, PowerOptions
from eetool_measure.results import Measurement
from eetool_runtime.backends import PROCESS
from eetool_runtime.records import decode, parse_json

T = TypeVar("T")

_ERRORS: dict[int, type[EarlyExitError]] = {2: UsageError, 3: ArtefactError, 5: MissingError}


class MeasureFunction(Interface):
    """Measures one variant with one thread count, here or elsewhere."""

    def __call__(
        self,
        path: Path,
        variant: str,
        threads: int,
        protocol: MeasurementProtocol,
        pool: str = PROCESS,
        power: PowerOptions = NO_POWER,
    ) -> Measurement:
        """What `python -m eetool_measure` says of the bundle at `path`."""


def measure_in_process(
    path: Path,
    variant: str,
    threads: int,
    protocol: MeasurementProtocol,
    pool: str = PROCESS,
    power: PowerOptions = NO_POWER,
) -> Measurement:
    """Measure a bundle on this machine. Raises as `run_measure`."""
    return run_measure(Measurement, path, measure_options(variant, threads, protocol, pool), power.words)


def run_measure(kind: type[T], path: Path, options: Mapping[str, object], more: Sequence[str] = ()) -> T:
    """Measure `path` and read the document of type `kind` that comes out.

    Raises:
        EarlyExitError: the child could not measure; the class says whose fault it is.
    """
    words = [*option_words(options), *more]
    # -P: a file of the user's folder that is named like a module must not be imported in its place.
    command = [sys.executable, "-P", "-m", "eetool_measure", str(path.absolute()), *words]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise child_error(child.returncode, child.stderr, f"measuring with {options['--threads']} threads")
    return read_document(kind, child.stdout)


def measure_options(variant: str, threads: int, protocol: MeasurementProtocol, pool: str) -> dict[str, object]:
    """Options of `python -m eetool_measure BUNDLE`."""
    options: dict[str, object] = {
        "--variant": variant,
        "--threads": threads,
        "--pool": pool,
        "--runs": protocol.runs,
        "--min-seconds": protocol.min_seconds,
        "--seed": protocol.seed,
    }
    return options if protocol.sustained_s is None else {**options, "--sustained-seconds": protocol.sustained_s}


def option_words(options: Mapping[str, object]) -> list[str]:
    """Options as the words of a command line."""
    return [str(word) for pair in options.items() for word in pair]


def read_document(kind: type[T], text: str) -> T:
    """The document of a child; raises EarlyExitError where it is something else."""

    def refuse(reason: str) -> EarlyExitError:
        return EarlyExitError(f"the measuring process said something unexpected: {reason}")

    return decode(kind, parse_json(text, refuse), refuse)


def child_error(code: int, stderr: str, doing: str) -> EarlyExitError:
    """What a child's exit code and its words on stderr (`error: …`, then a hint) mean."""
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    own = next((i for i, line in enumerate(said) if line.startswith("error: ")), None)
    if code in _ERRORS and own is not None:
        return _ERRORS[code](said[own].removeprefix("error: "), said[own + 1] if len(said) > own + 1 else None)
    return EarlyExitError(f"{doing} failed: {said[-1] if said else f'the process ended with {code}'}")
