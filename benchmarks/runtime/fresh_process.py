"""Figures of fresh Python processes that share one bytecode cache."""

import os
import tempfile
from collections.abc import Callable, Mapping
from typing import TypeVar

Subject, Figure = TypeVar("Subject"), TypeVar("Figure")


def interleaved_rounds(
    subjects: Mapping[str, Subject], measure: Callable[[Subject, dict[str, str]], Figure], runs: int
) -> list[dict[str, Figure]]:
    """Measure all subjects once per round.

    One more round is run first and dropped: it fills the disk cache and the shared bytecode cache.

    Args:
        subjects: The subjects by name.
        measure: Runs one subject in a new process with the given environment and returns its figure.
        runs: The number of rounds to return.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        rounds = [{name: measure(subject, environment) for name, subject in subjects.items()} for _ in range(runs + 1)]
    return rounds[1:]
