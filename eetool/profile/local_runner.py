"""Measurement on this machine, in a child process: a process can set its thread pool only once."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol as Interface
from typing import TypeVar

from eetool.child_progress import run_reporting
from eetool.profile.measuring_process import child_error, measure_options, option_words, read_document
from eetool.profile.protocol import NO_POWER, MeasurementProtocol, PowerOptions
from eetool.progress import Advance
from eetool_measure.results import Measurement
from eetool_runtime.backends import PROCESS

T = TypeVar("T")


class MeasureFunction(Interface):
    """Measurement of one variant with one thread count, on this or another machine."""

    def __call__(
        self,
        path: Path,
        variant: str,
        threads: int,
        protocol: MeasurementProtocol,
        pool: str = PROCESS,
        power: PowerOptions = NO_POWER,
    ) -> Measurement:
        """Measure the bundle at `path`."""


def measure_in_process(
    path: Path,
    variant: str,
    threads: int,
    protocol: MeasurementProtocol,
    pool: str = PROCESS,
    power: PowerOptions = NO_POWER,
) -> Measurement:
    """Measure a bundle on this machine; raise the errors of `run_measure`."""
    return run_measure(Measurement, path, measure_options(variant, threads, protocol, pool), power.words)


def run_measure(
    kind: type[T],
    path: Path,
    options: Mapping[str, object],
    more: Sequence[str] = (),
    advance: Advance | None = None,
) -> T:
    """Run `python -m eetool_measure` on this machine.

    Args:
        kind: type of the document that it prints.
        path: bundle or folder of probes.
        options: options with their values; `--threads` is required.
        more: further words of the command line.
        advance: receives the number of measured probes, while the process runs.

    Returns:
        The document.

    Raises:
        EarlyExitError: the process failed; the class follows from its exit code.
    """
    words = [*option_words(options), *more, *(("--progress",) if advance is not None else ())]
    # -P: a file in the user's folder must not shadow a module.
    command = [sys.executable, "-P", "-m", "eetool_measure", str(path.absolute()), *words]
    if advance is None:
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    else:
        child = run_reporting(command, advance)
    if child.returncode != 0:
        raise child_error(child.returncode, child.stderr, f"measuring with {options['--threads']} threads")
    return read_document(kind, child.stdout)
